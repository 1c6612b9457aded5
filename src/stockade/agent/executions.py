"""The commands of one devbox: started once, followed by many, kept when it has stopped.

The life of it: `attach` when the devbox runs; before it is stopped `Inside.close`, after
it has stopped `detach`. In between and afterwards everything but starting works.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncGenerator
from pathlib import Path

from stockade.agent.inside import Command, Inside
from stockade.agent.means import Means
from stockade.agent.outputs import TAIL
from stockade.agent.running import Running
from stockade.agent.shelf import Ended, Shelf
from stockade.errors import Conflict, InvalidRequest, NotFound, Unavailable
from stockade.hosting import Execution, ExecutionId, ExecutionPlan, Stream

# It is the name of a directory.
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_PIECE = 64 << 10
_PATIENCE = 5.0


class Executions:
    """Keeps everything below *directory*, which who made it deletes."""

    def __init__(self, directory: Path, means: Means) -> None:
        self._means = means
        self._shelf = Shelf(directory, means.bounds)
        self._inside: Inside | None = None
        self._running: dict[ExecutionId, Running] = {}
        self._starting: dict[ExecutionId, asyncio.Task[None]] = {}
        # They have ended, and background processes hold their outputs open.
        self._lingering: dict[Running, None] = {}

    def attach(self, inside: Inside) -> None:
        """Start commands in *inside* from now on."""
        self._inside = inside

    async def detach(self) -> None:
        """All processes of the devbox have ended: keep how, and let go of it."""
        self._inside = None
        for task in tuple(self._starting.values()):
            await asyncio.wait({task})
        for running in tuple(self._running.values()):
            running.hurry()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE):
                for running in tuple(self._running.values()):
                    await _until_ended(running)
        for running in (*self._running.values(), *self._lingering):
            running.close()

    async def execute(self, plan: ExecutionPlan) -> None:
        """Start a command. One with the same id is not started twice."""
        if _ID.fullmatch(plan.id) is None:
            raise InvalidRequest(f"not the id of an execution: {plan.id[:80]!r}")
        if plan.id not in self._starting:
            if plan.id in self._running or self._shelf.find(plan.id) is not None:
                return
            if self._inside is None:
                raise Conflict("the devbox does not run")
            self._begin(self._inside, plan)
        # It goes on without the caller: half started is nothing one could undo.
        await asyncio.shield(self._starting[plan.id])

    async def execution(self, execution: ExecutionId) -> Execution:
        """How far an execution is."""
        return _state(execution, self._find(execution))

    async def wait(self, execution: ExecutionId, seconds: float) -> Execution:
        """Wait at most *seconds* for an execution to end."""
        found = self._find(execution)
        if isinstance(found, Running):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await _until_ended(found)
        return _state(execution, found)

    async def read_output(
        self, execution: ExecutionId, stream: Stream, offset: int, limit: int
    ) -> bytes:
        """At most *limit* bytes, and at most a MiB, of an output from *offset* on."""
        found = self._find(execution)
        return found.outputs[stream].read(max(0, offset), min(limit, TAIL))

    async def follow_output(
        self, execution: ExecutionId, stream: Stream, offset: int
    ) -> AsyncGenerator[bytes, None]:
        """Yield an output from *offset* on as it is written, to its end.

        Raises `Unavailable` where a part was not kept.
        """
        found = self._find(execution)
        offset = max(0, offset)
        while True:
            changed = found.changed if isinstance(found, Running) else None
            has_ended = found.status is not None
            data = found.outputs[stream].read(offset, _PIECE)
            if data:
                offset += len(data)
                yield data
                await asyncio.sleep(0)  # Also who takes it at once lets others work.
            elif has_ended or changed is None:
                return
            else:
                await changed.wait()

    async def send_input(self, execution: ExecutionId, data: bytes | None) -> None:
        """Write to the standard input of an execution; None is the end of file."""
        found = await self._started(execution)
        if data is None:
            await found.input.end()
        else:
            await found.input.write(data)

    async def signal(self, execution: ExecutionId, number: int, *, group: bool) -> None:
        """Send a signal to an execution, or to its whole process group."""
        with contextlib.suppress(Conflict):
            (await self._started(execution)).signal(number, group=group)

    def _find(self, execution: ExecutionId) -> Running | Ended:
        found: Running | Ended | None = self._running.get(execution)
        if found is None and _ID.fullmatch(execution):
            found = self._shelf.find(execution)
        if found is None:
            raise NotFound(f"there is no execution {execution[:80]}")
        return found

    async def _started(self, execution: ExecutionId) -> Running:
        if execution in self._starting:
            await asyncio.shield(self._starting[execution])
        found = self._find(execution)
        if isinstance(found, Ended):
            raise Conflict(f"{execution} has ended")
        return found

    def _begin(self, inside: Inside, plan: ExecutionPlan) -> None:
        self._make_place()
        try:
            outputs = self._shelf.begin(plan.id)
        except OSError as error:
            self._means.leave_place()
            raise Unavailable(f"outputs cannot be kept: {error}") from None
        running = Running(
            outputs, lambda ended: self._on_end(plan.id, ended), self._on_gone
        )
        self._running[plan.id] = running
        start = self._start(inside, plan, running)
        task = asyncio.get_running_loop().create_task(start, name=f"start {plan.id}")
        self._starting[plan.id] = task
        task.add_done_callback(lambda done: self._on_started(plan.id, done))

    async def _start(
        self, inside: Inside, plan: ExecutionPlan, running: Running
    ) -> None:
        command = Command(plan.argv, plan.user, plan.env, plan.workdir)
        try:
            await running.start(inside, command, attached=plan.attach_stdin)
        except BaseException:
            del self._running[plan.id]
            running.abort()
            self._shelf.forget(plan.id)
            self._means.leave_place()
            raise

    def _on_started(self, execution: ExecutionId, task: asyncio.Task[None]) -> None:
        del self._starting[execution]
        if not task.cancelled():
            task.exception()  # Also if nobody waits for it any more.

    def _on_end(self, execution: ExecutionId, running: Running) -> None:
        self._lingering[running] = None
        if self._shelf.end(execution, running.status or 0, running.outputs):
            self._running.pop(execution, None)

    def _on_gone(self, running: Running) -> None:
        self._lingering.pop(running, None)
        self._means.leave_place()

    def _make_place(self) -> None:
        bound = self._means.bounds.running_in_devbox
        if len(self._running) + len(self._lingering) >= bound and self._lingering:
            next(iter(self._lingering)).close()
        if len(self._running) + len(self._lingering) >= bound:
            raise Unavailable(f"{bound} commands run in this devbox, as many as may")
        self._means.take_place()


async def _until_ended(running: Running) -> None:
    while running.status is None:
        await running.changed.wait()


def _state(execution: ExecutionId, found: Running | Ended) -> Execution:
    return Execution(
        execution,
        found.status,
        found.outputs[Stream.STDOUT].size,
        found.outputs[Stream.STDERR].size,
    )
