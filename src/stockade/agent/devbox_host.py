"""A machine that serves devboxes: what the control plane asks of it, done.

Satisfies `control.host.Host`, whose text says what each call means.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from typing import Final

from stockade.agent.agent import HostAgent
from stockade.agent.boxfiles import read_file, write_file
from stockade.agent.disks import Disks
from stockade.agent.executions import Executions
from stockade.agent.means import Means
from stockade.agent.served import Served, account_of
from stockade.agent.supervisor import InForce
from stockade.agent.threads import in_thread
from stockade.agent.warm import WarmPool
from stockade.errors import Conflict, NotFound, StockadeError
from stockade.hosting import (
    DevboxEnded,
    DevboxPlan,
    Execution,
    ExecutionId,
    ExecutionPlan,
    PolicyInForce,
    SnapshotId,
    Stream,
)
from stockade.runtime.images import ImageStore
from stockade.spec import DevboxId, PolicyPush

#: Devboxes that are being started or ended at once; others wait their turn.
AT_ONCE: Final = 4

_log = logging.getLogger(__name__)


class DevboxHost:
    """The devboxes that are served on this machine, behind *agent*'s gateway."""

    def __init__(
        self,
        agent: HostAgent,
        images: ImageStore,
        disks: Disks,
        pool: WarmPool,
        means: Means,
    ) -> None:
        self._agent = agent
        self._pool = pool
        self._images = images
        self._disks = disks
        self._means = means
        self._served: dict[DevboxId, Served] = {}
        self._executions: dict[DevboxId, Executions] = {}
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._room = asyncio.Semaphore(AT_ONCE)
        self._listeners: set[asyncio.Queue[DevboxEnded]] = set()
        self._ending: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """End all devboxes; their disks stay."""
        await self._pool.stop()
        await asyncio.gather(*(self.stop(devbox) for devbox in tuple(self._served)))
        for task in tuple(self._ending):
            await asyncio.wait({task})

    async def start(self, plan: DevboxPlan, push: PolicyPush) -> PolicyInForce:
        """Start a devbox, or start a suspended one again on its disk."""
        async with self._locks[plan.id]:
            if plan.id in self._served:
                said = await self.update_policy((plan.id,), push)
                return _known(said[plan.id])
            digest = self._disks.image_of(plan.id)
            if digest is None and plan.snapshot is not None:
                digest = self._disks.snapshot_image(plan.snapshot)
            # It may be made first, for minutes: nobody else waits for that.
            image = await self._images.ensure(digest or plan.image)
            served = Served(plan, self._agent, self._disks, self._pool, self._means)
            async with self._room:
                in_force = await served.start(image, push)
            await served.furnish()
            self._served[plan.id] = served
            self._of(plan.id).attach(served.inside)
            served.watch(lambda: self._on_end(plan.id, served))
            return _word(plan.id, push, in_force)

    async def stop(self, devbox: DevboxId) -> None:
        """End all processes of a devbox and keep its disk."""
        async with self._locks[devbox]:
            await self._stop(devbox)

    async def destroy(self, devbox: DevboxId) -> None:
        """End a devbox and delete its disk and outputs. It may be gone already."""
        async with self._locks[devbox]:
            await self._stop(devbox)
            self._executions.pop(devbox, None)
            await in_thread(self._disks.delete, devbox)
        if not self._locks[devbox].locked():
            del self._locks[devbox]

    async def running(self) -> frozenset[DevboxId]:
        """Which devboxes run."""
        return frozenset(self._served)

    async def disks(self) -> frozenset[DevboxId]:
        """Which devboxes have a disk here: those that run, and those that were stopped."""
        return self._disks.devboxes()

    async def ended(self) -> AsyncGenerator[DevboxEnded, None]:
        """Tell of each devbox that ends by itself, from now on."""
        heard: asyncio.Queue[DevboxEnded] = asyncio.Queue()
        self._listeners.add(heard)
        try:
            while True:
                yield await heard.get()
        finally:
            self._listeners.discard(heard)

    async def update_policy(
        self, devboxes: Sequence[DevboxId], push: PolicyPush
    ) -> Mapping[DevboxId, PolicyInForce | StockadeError]:
        """Put a generation in force for many devboxes at once; what came of each."""
        said = await self._agent.update_policies(devboxes, push)
        return {
            devbox: one
            if isinstance(one := said[devbox], StockadeError)
            else _word(devbox, push, one)
            for devbox in devboxes
        }

    async def execute(self, devbox: DevboxId, plan: ExecutionPlan) -> None:
        """Start a command. One with the same id is not started twice."""
        served = self._served.get(devbox)
        if served is not None:
            await served.thawed.wait()
        await self._of(devbox).execute(plan)

    async def execution(self, devbox: DevboxId, execution: ExecutionId) -> Execution:
        """How far an execution is. Known until its devbox is destroyed."""
        return await self._of(devbox).execution(execution)

    async def wait(
        self, devbox: DevboxId, execution: ExecutionId, seconds: float
    ) -> Execution:
        """Wait at most *seconds* for an execution to end with its output complete."""
        return await self._of(devbox).wait(execution, seconds)

    async def read_output(
        self,
        devbox: DevboxId,
        execution: ExecutionId,
        stream: Stream,
        offset: int,
        limit: int,
    ) -> bytes:
        """At most *limit* bytes of an output from *offset* on; empty: no more as yet."""
        return await self._of(devbox).read_output(execution, stream, offset, limit)

    async def follow_output(
        self, devbox: DevboxId, execution: ExecutionId, stream: Stream, offset: int
    ) -> AsyncGenerator[bytes, None]:
        """Yield an output from *offset* on as it is written, to its end."""
        found = self._of(devbox).follow_output(execution, stream, offset)
        async with contextlib.aclosing(found):
            async for data in found:
                yield data

    async def send_input(
        self, devbox: DevboxId, execution: ExecutionId, data: bytes | None
    ) -> None:
        """Write to the standard input of an execution; None is the end of file."""
        await self._of(devbox).send_input(execution, data)

    async def signal(
        self, devbox: DevboxId, execution: ExecutionId, number: int, *, group: bool
    ) -> None:
        """Send a signal to an execution, or to its whole process group."""
        await self._of(devbox).signal(execution, number, group=group)

    async def read_file(
        self, devbox: DevboxId, path: str, account: str
    ) -> AsyncGenerator[bytes, None]:
        """Yield a file's content as the user *account* may read it."""
        served = self._runs(devbox)
        await served.thawed.wait()
        found = read_file(served.inside, path, account_of(served.plan, account))
        async with contextlib.aclosing(found):
            async for data in found:
                yield data

    async def write_file(
        self, devbox: DevboxId, path: str, account: str, content: AsyncIterator[bytes]
    ) -> int:
        """Write a file as the user *account*, with its parents; the size written."""
        served = self._runs(devbox)
        await served.thawed.wait()
        return await write_file(
            served.inside, path, account_of(served.plan, account), content
        )

    async def snapshot(self, devbox: DevboxId, snapshot: SnapshotId) -> int:
        """Copy the disk of a devbox, running or stopped, into a snapshot; its bytes."""
        async with self._locks[devbox]:
            served = self._served.get(devbox)
            if served is None:
                return await in_thread(self._disks.snapshot, devbox, snapshot)
            async with served.frozen():
                return await in_thread(self._disks.snapshot, devbox, snapshot)

    async def delete_snapshot(self, snapshot: SnapshotId) -> None:
        """Delete a snapshot. Devboxes that were started from it are not affected."""
        await in_thread(self._disks.delete_snapshot, snapshot)

    async def snapshots(self) -> frozenset[SnapshotId]:
        """Which snapshots are complete."""
        return self._disks.snapshots()

    async def _stop(self, devbox: DevboxId) -> None:
        served = self._served.pop(devbox, None)
        if served is None:
            return
        async with self._room:
            await served.stop(self._of(devbox))

    def _on_end(self, devbox: DevboxId, served: Served) -> None:
        """The init of a devbox has ended, asked or not."""
        if self._served.get(devbox) is served:
            task = asyncio.get_running_loop().create_task(self._bury(devbox, served))
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)

    async def _bury(self, devbox: DevboxId, served: Served) -> None:
        async with self._locks[devbox]:
            if self._served.get(devbox) is not served:
                return
            told = DevboxEnded(devbox, *served.cause())
            try:
                await self._stop(devbox)
            except (StockadeError, OSError):
                _log.exception("what is left of a devbox", extra={"devbox": devbox})
        for heard in self._listeners:
            heard.put_nowait(told)

    def _of(self, devbox: DevboxId) -> Executions:
        """The executions of a devbox that has a disk here. Raises `NotFound`."""
        found = self._executions.get(devbox)
        if found is None:
            if not self._disks.has(devbox):
                raise NotFound(f"there is no devbox {devbox} on this host")
            place = self._disks.place(devbox) / "executions"
            found = self._executions[devbox] = Executions(place, self._means)
        return found

    def _runs(self, devbox: DevboxId) -> Served:
        found = self._served.get(devbox)
        if found is None:
            raise Conflict(f"{devbox} does not run")
        return found


def _word(devbox: DevboxId, push: PolicyPush, said: InForce) -> PolicyInForce:
    return PolicyInForce(
        devbox=devbox,
        policy_id=push.policy_id,
        generation=said.generation,
        digest=said.digest,
        cut=said.cut,
        at_ms=time.time_ns() // 1_000_000,
    )


def _known(said: PolicyInForce | StockadeError) -> PolicyInForce:
    if isinstance(said, StockadeError):
        raise said
    return said
