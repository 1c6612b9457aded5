"""A shell script in a devbox that works for us, in an environment of its own.

The shell and its programs are the devbox's, which may have replaced them: what they say
goes to their own user only, is bounded, and is not waited for when they do nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from stockade.agent.child import Child
from stockade.agent.inside import Command, Inside, NotStarted
from stockade.agent.pipes import PIECE, InputPipe, enlarge
from stockade.errors import Conflict, Unavailable
from stockade.hosting import BoxAccount
from stockade.runtime.bundle import DEFAULT_PATH
from stockade.runtime.driver import Stdio

_ENV = {"LC_ALL": "C", "PATH": DEFAULT_PATH}
# Without any progress.
_PATIENCE = 30.0
# For what it has to tidy up when its work is not wanted any more.
_LAST_SECONDS = 5.0
_MAX_SAID = 4096


class Helper:
    """A script that runs, with a pipe to it and a socket to and from it."""

    def __init__(
        self, child: Child, pipe: InputPipe, channel: socket.socket, errors: int
    ) -> None:
        self.child = child
        self._input = pipe
        self._channel = channel
        self._errors = errors
        self._patience = _PATIENCE
        channel.setblocking(False)
        os.set_blocking(errors, False)

    async def write(self, data: bytes) -> bool:
        """Write to its standard input; whether it still reads that."""
        rest = memoryview(data)
        while rest:
            try:
                async with asyncio.timeout(self._patience):
                    await self._input.write(rest[:PIECE])
            except Conflict:
                return False
            except TimeoutError:
                raise self._stuck() from None
            rest = rest[PIECE:]
        return True

    async def end_input(self) -> None:
        """Let it see the end of its standard input."""
        await self._input.end()

    def say(self, word: str) -> None:
        """Send a line that it reads from its standard output."""
        with contextlib.suppress(OSError):
            self._channel.send(f"{word}\n".encode())

    async def read(self) -> bytes:
        """What it has written to its standard output; empty at the end of that."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(0)  # Also who takes it at once lets others work.
            has_ended = self.child.ended.done()
            with contextlib.suppress(BlockingIOError):
                return self._channel.recv(PIECE)
            if has_ended:
                return b""  # Whoever it has left behind holds the socket.
            readable: asyncio.Future[None] = loop.create_future()
            loop.add_reader(self._channel, _wake, readable)
            try:
                waited: set[asyncio.Future[Any]] = {readable, self.child.ended}
                done, _ = await asyncio.wait(
                    waited,
                    timeout=self._patience,
                    return_when=asyncio.FIRST_COMPLETED,
                )
            finally:
                loop.remove_reader(self._channel)
            if not done:
                raise self._stuck()

    async def status(self) -> int:
        """Its exit status."""
        await asyncio.wait({self.child.ended}, timeout=self._patience)
        if not self.child.ended.done():
            raise self._stuck()
        return self.child.ended.result()

    def said(self) -> str:
        """What it wrote to its standard error, fit to be shown."""
        data = b""
        with contextlib.suppress(OSError):
            data = os.read(self._errors, _MAX_SAID)
        text = data.decode(errors="replace").strip()
        return "".join(c if c.isprintable() else " " for c in text)

    def close(self) -> None:
        """Let go of it. It sees that, and has a moment to end by itself."""
        self._input.close()
        self._channel.close()
        os.close(self._errors)
        timer = asyncio.get_running_loop().call_later(_LAST_SECONDS, self.child.kill)

        def over(_status: asyncio.Future[int]) -> None:
            timer.cancel()
            self.child.finish()

        self.child.ended.add_done_callback(over)

    @staticmethod
    def _stuck() -> Unavailable:
        return Unavailable(
            f"nothing has happened in the devbox for {_PATIENCE:.0f} seconds"
        )


@asynccontextmanager
async def helper(
    inside: Inside, account: BoxAccount, script: str, *arguments: str
) -> AsyncGenerator[Helper, None]:
    """Run *script* as *account* during the block, with *arguments* as $1, $2, ..."""
    argv = ("/bin/sh", "-c", script, "sh", *arguments)
    command = Command(argv, account, _ENV, "/", apart=True)
    inside.means.take_place()
    try:
        started = await _start(inside, command)
        try:
            yield started
        finally:
            started.close()
    finally:
        inside.means.leave_place()


async def _start(inside: Inside, command: Command) -> Helper:
    with contextlib.ExitStack() as undo:
        theirs, ours = _ends(undo)
        try:
            child = await inside.start(command, theirs)
        except NotStarted as error:
            raise Unavailable(f"the devbox has no shell for this: {error}") from None
        undo.pop_all()
    stdin, channel, errors = ours
    return Helper(child, InputPipe(stdin), channel, errors)


def _ends(undo: contextlib.ExitStack) -> tuple[Stdio, tuple[int, socket.socket, int]]:
    """Make the ends for a script, and ours, which *undo* closes."""
    try:
        channel, channel_end = socket.socketpair()
        undo.callback(channel.close)
        theirs = channel_end.detach()
        with contextlib.ExitStack() as failing:
            failing.callback(os.close, theirs)
            stdin_end, stdin = os.pipe2(os.O_CLOEXEC)
            undo.callback(os.close, stdin)
            failing.callback(os.close, stdin_end)
            errors, errors_end = os.pipe2(os.O_CLOEXEC)
            undo.callback(os.close, errors)
            failing.pop_all()
    except OSError as error:
        raise Unavailable(f"a command cannot be started: {error}") from None
    enlarge(stdin)
    return Stdio(stdin_end, theirs, errors_end), (stdin, channel, errors)


def _wake(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)
