"""A devbox that runs, as a place where further processes are started."""

from __future__ import annotations

import asyncio
import os
import re
import select
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from stockade.agent.child import Child
from stockade.agent.means import Means
from stockade.errors import CommandError, Conflict, StockadeError, Unavailable
from stockade.hosting import BoxAccount
from stockade.runtime.box import Box, BoxProcess
from stockade.runtime.bundle import BoxCommand
from stockade.runtime.driver import Stdio

# What a shell exits with for a program that is not there, and one that cannot be run.
NOT_FOUND, NOT_RUNNABLE = 127, 126
# Commands that one devbox starts at once; the threads for it are all devboxes'.
_AT_ONCE = 4
# The kernel's bound on one argument, its end included.
_MAX_ARGUMENT = 128 << 10

_ABOUT_PROGRAM = re.compile(r"executable|exec: |execve", re.IGNORECASE)
_IS_MISSING = re.compile(r"not found|no such file", re.IGNORECASE)
_ABOUT_WORKDIR = re.compile(r"chdir|cwd", re.IGNORECASE)


class NotStarted(StockadeError):
    """It was the command's own fault. *status* is what a shell would exit with."""

    def __init__(self, message: str, status: int) -> None:
        self.status = status
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Command:
    """What to start, as whom. *workdir* is the home unless given.

    One that is *apart* sees nothing of the environment of its devbox.
    """

    argv: tuple[str, ...]
    account: BoxAccount
    env: Mapping[str, str] = field(default_factory=dict)
    workdir: str | None = None
    apart: bool = False


class Inside:
    """Starts processes in *box*, until it is closed.

    `close` comes before `Box.remove`, which else would meet a runtime at work, and wait
    for processes that nobody reaps.
    """

    def __init__(self, box: Box, means: Means) -> None:
        self.means = means
        self._box = box
        self._is_closed = False
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._waiting = 0
        self._starting: set[asyncio.Future[BoxProcess]] = set()
        self._children: set[Child] = set()

    async def close(self) -> None:
        """Start nothing any more; returns when nothing is being started."""
        self._is_closed = True
        await self.settled()
        for child in tuple(self._children):
            child.finish()

    async def settled(self) -> None:
        """Return when nothing is being started, or waits for its turn."""
        while self._starting or self._waiting:
            if self._starting:
                await asyncio.wait(self._starting)
            else:
                await asyncio.sleep(0)

    async def start(self, command: Command, stdio: Stdio) -> Child:
        """Start a process with *stdio*, which is closed here whatever happens.

        Raises `NotStarted`, `Conflict` if the devbox does not run, `Unavailable`.
        """
        self._waiting += 1
        try:
            await self._turns.acquire()
        except BaseException:
            _close(stdio)
            raise
        finally:
            self._waiting -= 1
        try:
            return await self._start(command, stdio)
        finally:
            self._turns.release()

    async def _start(self, command: Command, stdio: Stdio) -> Child:
        if self._is_closed:
            _close(stdio)
            raise Conflict("the devbox does not run any more")
        starting = self.means.call(lambda: _begin(self._box, command, stdio))
        self._starting.add(starting)
        starting.add_done_callback(self._starting.discard)
        try:
            process = await asyncio.shield(starting)
        except asyncio.CancelledError:
            starting.add_done_callback(self._abandon)
            raise
        return self._adopt(process)

    def _adopt(self, process: BoxProcess) -> Child:
        child = Child(process, lambda: self._box.forget(process))
        self._children.add(child)
        child.ended.add_done_callback(lambda _: self._children.discard(child))
        if self._is_closed:
            child.finish()
        return child

    def _abandon(self, starting: asyncio.Future[BoxProcess]) -> None:
        """End what was started for somebody who does not wait for it any more."""
        if not starting.cancelled() and starting.exception() is None:
            self._adopt(starting.result()).kill()


def _begin(box: Box, command: Command, stdio: Stdio) -> BoxProcess:
    try:
        _check(command)
        account = command.account
        user = box.account(account.name, account.uid, account.home)
        workdir = str(PurePosixPath(account.home) / (command.workdir or ""))
        if command.workdir is None and not box.has_directory(workdir):
            workdir = "/"  # As login(1) does.
        wanted = BoxCommand(command.argv, user, workdir, command.env, command.apart)
        return box.exec(wanted, stdio)
    except CommandError as error:
        if _has_ended(box):
            raise Conflict("the devbox does not run any more") from None
        raise explained(error.stderr, command) from None
    except OSError as error:
        raise Unavailable(f"the command could not be started: {error}") from None
    finally:
        _close(stdio)


def _check(command: Command) -> None:
    texts = [*command.argv, *(f"{name}={command.env[name]}" for name in command.env)]
    for text in (*texts, command.workdir or ""):
        try:
            size = len(text.encode())
        except UnicodeEncodeError:
            raise NotStarted("a text of it is not UTF-8", NOT_RUNNABLE) from None
        if "\0" in text or size >= _MAX_ARGUMENT:
            raise NotStarted(
                "a text of it has a NUL character or is longer than the kernel takes: "
                f"{_MAX_ARGUMENT - 1} bytes",
                NOT_RUNNABLE,
            )
    if not command.argv:
        raise NotStarted("there is no program to run", NOT_RUNNABLE)


def explained(said: str, command: Command) -> StockadeError:
    """Tell from what a runtime *said* whether the command itself is to blame."""
    if _ABOUT_WORKDIR.search(said):
        where = command.workdir or command.account.home
        return NotStarted(f"cannot work in {where}: {said.strip()}", NOT_RUNNABLE)
    if _ABOUT_PROGRAM.search(said):
        if _IS_MISSING.search(said):
            return NotStarted(f"{command.argv[0]}: no such program", NOT_FOUND)
        return NotStarted(f"{command.argv[0]}: {said.strip()}", NOT_RUNNABLE)
    return Unavailable(
        f"the command could not be started: {said.strip() or 'no reason'}"
    )


def _has_ended(box: Box) -> bool:
    if box.pidfd < 0:
        return True
    poll = select.poll()
    poll.register(box.pidfd, select.POLLIN)
    return bool(poll.poll(0))


def _close(stdio: Stdio) -> None:
    for descriptor in {stdio.stdin, stdio.stdout, stdio.stderr}:
        os.close(descriptor)
