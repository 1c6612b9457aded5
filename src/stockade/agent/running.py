"""One execution from its start to its end.

It has ended when its process has and its outputs are closed, or a second after its
process has: a process that it left in the background may hold them for ever. What such
a process writes later is read, so that it is not held up, and dropped: an execution that
has ended does not change.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from functools import partial

from stockade.agent.child import KILLED, Child
from stockade.agent.inside import Command, Inside, NotStarted
from stockade.agent.pipes import Collector, InputPipe
from stockade.agent.shelf import Outputs
from stockade.errors import Conflict, Unavailable
from stockade.hosting import Stream
from stockade.runtime.driver import Stdio

#: How long an execution waits for the outputs of a process that has ended.
GRACE_SECONDS = 1.0


class Running:
    """An execution that is being started, runs, or lingers.

    *on_end* is called once, when its status is known and its outputs are complete;
    *on_gone* once it holds nothing of the machine any more.
    """

    def __init__(
        self,
        outputs: Outputs,
        on_end: Callable[[Running], None],
        on_gone: Callable[[Running], None],
    ) -> None:
        self.outputs = outputs
        #: None until it has ended.
        self.status: int | None = None
        #: Set when something was written, or it has ended; another one then.
        self.changed = asyncio.Event()
        self._on_end = on_end
        self._on_gone = on_gone
        self._child: Child | None = None
        self._input: InputPipe | None = None
        self._collectors: list[Collector] = []
        self._grace: asyncio.TimerHandle | None = None
        self._seconds = GRACE_SECONDS

    async def start(self, inside: Inside, command: Command, *, attached: bool) -> None:
        """Start it. A command that cannot be started ends, and says so in `stderr`.

        Raises `Conflict` and `Unavailable`, about the devbox and the machine.
        """
        opened: list[int] = []
        try:
            stdio, ours = _open(opened, attached=attached)
        except OSError as error:
            for descriptor in opened:
                os.close(descriptor)
            raise Unavailable(f"a command cannot be started: {error}") from None
        try:
            self._child = await inside.start(command, stdio)
        except BaseException as error:
            for descriptor in ours:
                os.close(descriptor)
            if not isinstance(error, NotStarted):
                raise
            self.outputs[Stream.STDERR].append(f"stockade: {error}\n".encode())
            self._end(error.status)
            return
        for stream, descriptor in zip(Stream, ours, strict=False):
            output = self.outputs[stream]
            self._collectors.append(
                Collector(
                    descriptor,
                    partial(self._take, output.append),
                    self._settle,
                    inside.means.pace,
                )
            )
        if attached:
            self._input = InputPipe(ours[-1])
        self._child.ended.add_done_callback(self._on_child_end)

    @property
    def input(self) -> InputPipe:
        """Its standard input. Raises `Conflict` if there is none to write to."""
        if self.status is not None or (self._child and self._child.ended.done()):
            raise Conflict("it has ended")
        if self._input is None:
            raise Conflict("its standard input was not attached")
        return self._input

    def signal(self, number: int, *, group: bool) -> None:
        """Send a signal to its process, or to the group of that."""
        if self._child is not None:
            self._child.signal(number, group=group)

    def hurry(self) -> None:
        """Its devbox has ended: wait for nothing that is not there already."""
        self._seconds = 0.0
        if self._grace is not None:
            self._grace.cancel()
            self._grace = None
            self._give_up()

    def abort(self) -> None:
        """It was not started: whoever follows it already has nothing to wait for."""
        self.status = KILLED
        self._tell()

    def close(self) -> None:
        """Let go of everything, whatever it does."""
        if self._child is not None:
            self._child.kill()
        self._end(KILLED)
        for collector in self._collectors:
            collector.close()

    def _take(self, append: Callable[[bytes], None], data: bytes) -> None:
        append(data)
        self._tell()

    def _tell(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()

    def _on_child_end(self, _ended: asyncio.Future[int]) -> None:
        if self._input is not None:
            self._input.close()
        if self.status is None:
            loop = asyncio.get_running_loop()
            self._grace = loop.call_later(self._seconds, self._give_up)
        self._settle()

    def _settle(self) -> None:
        """Look whether it has ended, and whether it lingers."""
        child = self._child
        if child is None or not child.ended.done():
            return
        if all(collector.is_closed for collector in self._collectors):
            self._end(child.ended.result())
            self._gone()

    def _give_up(self) -> None:
        """Wait no longer for outputs that others hold."""
        self._grace = None
        for collector in self._collectors:
            collector.drain()
        if self._child is not None:
            self._end(self._child.ended.result())
        for collector in self._collectors:
            collector.discard()

    def _end(self, status: int) -> None:
        if self.status is not None:
            return
        self.status = status
        if self._grace is not None:
            self._grace.cancel()
            self._grace = None
        if self._child is not None:
            self._child.finish()
        if self._input is not None:
            self._input.close()
        self._on_end(self)
        self._tell()
        if not self._collectors:
            self._gone()

    def _gone(self) -> None:
        on_gone, self._on_gone = self._on_gone, _nothing
        on_gone(self)


def _open(opened: list[int], *, attached: bool) -> tuple[Stdio, tuple[int, ...]]:
    """Make the ends for a process, and ours: of its outputs, then of its input."""

    def pipe() -> tuple[int, int]:
        ends = os.pipe2(os.O_CLOEXEC)
        opened.extend(ends)
        return ends

    stdout, stdout_end = pipe()
    stderr, stderr_end = pipe()
    if attached:
        stdin_end, stdin = pipe()
        return Stdio(stdin_end, stdout_end, stderr_end), (stdout, stderr, stdin)
    # Not a pipe that is at its end: programs look whether there could be input.
    null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    return Stdio(null, stdout_end, stderr_end), (stdout, stderr)


def _nothing(_running: Running) -> None:
    """It was told already."""
