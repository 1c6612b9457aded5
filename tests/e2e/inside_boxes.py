"""What the tests of executions and files share: devboxes with nothing but an init.

Everything happens in the event loop of the thread that the devboxes' mounts belong to.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
import uvloop

from stockade.agent.child import Child
from stockade.agent.executions import Executions
from stockade.agent.inside import Inside
from stockade.agent.means import Bounds, Means
from stockade.hosting import (
    BoxAccount,
    Execution,
    ExecutionId,
    ExecutionPlan,
    Stream,
)
from tests.e2e.runtime_boxes import Boxes, Running

_T = TypeVar("_T")

ROOT = BoxAccount("root", 0)
USER = BoxAccount()
LOOPS = ("asyncio", "uvloop")
PATIENCE = 60.0


class Served:
    """A devbox as it is served: executions in it, and files."""

    def __init__(
        self, running: Running, directory: Path, bounds: Bounds | None
    ) -> None:
        self.running = running
        self.directory = directory
        self.means = Means(bounds)
        self.inside = Inside(running.box, self.means)
        self.executions = Executions(directory, self.means)
        self.executions.attach(self.inside)
        self._ids = (f"exec_{number}" for number in itertools.count(1))

    async def start(self, *argv: str, **plan: Any) -> ExecutionId:
        """Start a command; return its id."""
        name = ExecutionId(plan.pop("id", None) or next(self._ids))
        await self.executions.execute(ExecutionPlan(name, argv, **plan))
        return name

    async def sh(self, script: str, **plan: Any) -> ExecutionId:
        return await self.start("bash", "-c", script, **plan)

    async def finish(self, execution: ExecutionId) -> Execution:
        """Wait for the end."""
        return await self.executions.wait(execution, PATIENCE)

    async def first(self, execution: ExecutionId) -> bytes:
        """The first that an execution prints, as soon as it does."""
        source = self.executions.follow_output(execution, Stream.STDOUT, 0)
        try:
            return await anext(source)
        finally:
            await source.aclose()

    def child(self, execution: ExecutionId) -> Child:
        """The process of an execution that has not ended."""
        found = self.executions._running[execution]._child
        assert found is not None
        return found

    async def output(
        self, execution: ExecutionId, stream: Stream = Stream.STDOUT, offset: int = 0
    ) -> bytes:
        """All of an output, to its end."""
        source = self.executions.follow_output(execution, stream, offset)
        return b"".join([data async for data in source])

    async def run(self, *argv: str, **plan: Any) -> tuple[int | None, str, str]:
        """Run a command to its end: status and outputs."""
        name = await self.start(*argv, **plan)
        done = await self.finish(name)
        out, err = await self.output(name), await self.output(name, Stream.STDERR)
        return done.exit_status, out.decode(), err.decode()

    async def shell(self, script: str, **plan: Any) -> str:
        """What a script prints that succeeds."""
        status, out, err = await self.run("bash", "-c", script, **plan)
        assert (status, err) == (0, ""), err
        return out

    async def stop(self) -> None:
        """Stop the devbox, in the order in which it is to be done."""
        await self.inside.close()
        await asyncio.to_thread(self.running.box.remove)
        await self.executions.detach()
        self.means.close()


class World:
    """Makes devboxes, and runs what a test does with them."""

    def __init__(
        self,
        boxes: Boxes,
        loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
    ) -> None:
        self.boxes = boxes
        self.loop_factory = loop_factory
        self._count = itertools.count(1)

    def go(self, body: Callable[[Served], Awaitable[_T]], **fields: Any) -> _T:
        """Run *body* with a devbox; *fields* are those of its spec."""
        bounds = fields.pop("bounds", None)

        async def whole() -> _T:
            async with self.served(bounds, **fields) as served:
                return await asyncio.wait_for(body(served), PATIENCE)

        def run() -> _T:
            with asyncio.Runner(loop_factory=self.loop_factory) as runner:
                return runner.run(whole())

        return self.boxes.do(run)

    @asynccontextmanager
    async def served(
        self, bounds: Bounds | None = None, **fields: Any
    ) -> AsyncIterator[Served]:
        request = self.boxes.request("sleep", "infinity", **fields)
        running = Running(self.boxes, request)
        running.box.prepare()
        await asyncio.to_thread(self._create, running)
        place = self.boxes.run_dir / f"outputs-{next(self._count)}"
        served = Served(running, place, bounds)
        try:
            yield served
        finally:
            await served.stop()

    @staticmethod
    def _create(running: Running) -> None:
        import os

        from stockade.runtime.driver import Stdio

        null = os.open(os.devnull, os.O_RDWR)
        try:
            running.pid = running.box.create(Stdio(null, null, null))
        finally:
            os.close(null)
        running.box.start()


@pytest.fixture(scope="module", name="world")
def world_fixture() -> Iterator[World]:
    """For all tests of a module that imports this."""
    with Boxes() as boxes:
        yield World(boxes)


@pytest.fixture(
    scope="module", name="world", params=[None, uvloop.new_event_loop], ids=LOOPS
)
def loops_fixture(request: pytest.FixtureRequest) -> Iterator[World]:
    """The same, and each test once in each event loop."""
    with Boxes() as boxes:
        yield World(boxes, request.param)
