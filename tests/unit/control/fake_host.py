"""A host without namespaces: commands are processes of the test, disks are directories.

It keeps what it was asked for, and fails where a test wants it to.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stockade.errors import Conflict, InvalidRequest, NotFound, StockadeError
from stockade.hosting import (
    DevboxEnded,
    DevboxPlan,
    EndCause,
    Execution,
    ExecutionId,
    ExecutionPlan,
    PolicyInForce,
    SnapshotId,
    Stream,
)
from stockade.spec import DevboxId, PolicyPush


@dataclass
class Job:
    """An execution."""

    process: asyncio.subprocess.Process
    outputs: dict[Stream, bytearray]
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    ended: bool = False

    def state(self, execution: ExecutionId) -> Execution:
        status = self.process.returncode
        if status is not None and status < 0:
            status = 128 - status  # As a shell tells it.
        return Execution(
            execution,
            status if self.ended else None,
            len(self.outputs[Stream.STDOUT]),
            len(self.outputs[Stream.STDERR]),
        )


class FakeHost:
    """Satisfies `control.host.Host`. *failures* maps a call to what it raises."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.plans: dict[DevboxId, DevboxPlan] = {}
        self.pushes: dict[DevboxId, PolicyPush] = {}
        self.calls: list[tuple[str, str]] = []
        self.called = asyncio.Event()
        self.failures: dict[str, StockadeError] = {}
        self.gates: dict[str, asyncio.Event] = {}
        self.jobs: dict[tuple[DevboxId, ExecutionId], Job] = {}
        self.endings: asyncio.Queue[DevboxEnded] = asyncio.Queue()
        self.tasks: set[asyncio.Task[None]] = set()
        self.counts: defaultdict[str, int] = defaultdict(int)

    async def close(self) -> None:
        """End what still runs."""
        for devbox in list(self.plans):
            await self.stop(devbox)
        await asyncio.gather(*self.tasks)

    def disk(self, devbox: str) -> Path:
        return self.root / "disks" / devbox

    async def asked(self, call: str, about: str) -> None:
        """Wait until a call was made."""
        while (call, about) not in self.calls:
            await self.called.wait()

    async def _pass(self, call: str, about: str) -> None:
        self.calls.append((call, about))
        self.called.set()
        self.called = asyncio.Event()
        if call in self.gates:
            await self.gates[call].wait()
        if call in self.failures:
            raise self.failures[call]

    async def start(self, plan: DevboxPlan, push: PolicyPush) -> PolicyInForce:
        await self._pass("start", plan.id)
        disk = self.disk(plan.id)
        if plan.snapshot is not None and not disk.exists():
            shutil.copytree(self.root / "snapshots" / plan.snapshot, disk)
        disk.mkdir(parents=True, exist_ok=True)
        self.plans[plan.id] = plan
        return self._in_force(plan.id, push)

    async def stop(self, devbox: DevboxId) -> None:
        await self._pass("stop", devbox)
        self.plans.pop(devbox, None)
        running = [
            job
            for (box, _), job in self.jobs.items()
            if box == devbox and not job.ended
        ]
        for job in running:
            os.killpg(job.process.pid, signal.SIGKILL)
        for job in running:
            while not job.ended:
                await job.changed.wait()

    async def destroy(self, devbox: DevboxId) -> None:
        await self.stop(devbox)
        await self._pass("destroy", devbox)
        self.jobs = {key: job for key, job in self.jobs.items() if key[0] != devbox}
        shutil.rmtree(self.disk(devbox), ignore_errors=True)

    async def running(self) -> frozenset[DevboxId]:
        return frozenset(self.plans)

    async def disks(self) -> frozenset[DevboxId]:
        found = self.root / "disks"
        return frozenset(DevboxId(path.name) for path in found.glob("*"))

    async def ended(self) -> AsyncIterator[DevboxEnded]:
        while True:
            yield await self.endings.get()

    async def end(self, devbox: DevboxId, cause: EndCause) -> None:
        """Let a devbox end by itself."""
        await self.stop(devbox)
        self.endings.put_nowait(DevboxEnded(devbox, cause, f"it ended: {cause}"))

    async def update_policy(
        self, devboxes: Sequence[DevboxId], push: PolicyPush
    ) -> Mapping[DevboxId, PolicyInForce | StockadeError]:
        await self._pass("update_policy", push.policy_id)
        return {
            devbox: self._in_force(devbox, push)
            if devbox in self.plans
            else NotFound(f"{devbox} does not run")
            for devbox in devboxes
        }

    def _in_force(self, devbox: DevboxId, push: PolicyPush) -> PolicyInForce:
        self.pushes[devbox] = push
        return PolicyInForce(
            devbox, push.policy_id, push.generation, push.digest, 0, push.generation
        )

    async def execute(self, devbox: DevboxId, plan: ExecutionPlan) -> None:
        await self._pass("execute", plan.argv[-1])
        if devbox not in self.plans:
            raise NotFound(f"{devbox} does not run")
        if (devbox, plan.id) in self.jobs:
            return
        self.counts[plan.argv[-1]] += 1
        process = await asyncio.create_subprocess_exec(
            *("bash", "-c", *plan.argv[2:]),
            cwd=self.disk(devbox),
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(self.disk(devbox)),
                **self.plans[devbox].env,
                **plan.env,
            },
            stdin=asyncio.subprocess.PIPE
            if plan.attach_stdin
            else asyncio.subprocess.DEVNULL,
            # Whoever started the tests may ignore it, and children would, too.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        job = Job(process, {Stream.STDOUT: bytearray(), Stream.STDERR: bytearray()})
        self.jobs[devbox, plan.id] = job
        task = asyncio.create_task(self._collect(job))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _collect(self, job: Job) -> None:
        async def take(source: asyncio.StreamReader, into: bytearray) -> None:
            while data := await source.read(4096):
                into += data
                self._tell(job)

        assert job.process.stdout is not None
        assert job.process.stderr is not None
        await asyncio.gather(
            take(job.process.stdout, job.outputs[Stream.STDOUT]),
            take(job.process.stderr, job.outputs[Stream.STDERR]),
        )
        await job.process.wait()
        job.ended = True
        self._tell(job)

    @staticmethod
    def _tell(job: Job) -> None:
        job.changed.set()
        job.changed = asyncio.Event()

    def _job(self, devbox: DevboxId, execution: ExecutionId) -> Job:
        try:
            return self.jobs[devbox, execution]
        except KeyError:
            raise NotFound(f"there is no execution {execution}") from None

    async def execution(self, devbox: DevboxId, execution: ExecutionId) -> Execution:
        return self._job(devbox, execution).state(execution)

    async def wait(
        self, devbox: DevboxId, execution: ExecutionId, seconds: float
    ) -> Execution:
        job = self._job(devbox, execution)
        try:
            async with asyncio.timeout(seconds):
                while not job.ended:
                    await job.changed.wait()
        except TimeoutError:
            pass
        return job.state(execution)

    async def read_output(
        self,
        devbox: DevboxId,
        execution: ExecutionId,
        stream: Stream,
        offset: int,
        limit: int,
    ) -> bytes:
        output = self._job(devbox, execution).outputs[stream]
        return bytes(output[offset : offset + limit])

    async def follow_output(
        self, devbox: DevboxId, execution: ExecutionId, stream: Stream, offset: int
    ) -> AsyncIterator[bytes]:
        job = self._job(devbox, execution)
        while True:
            changed, ended = job.changed, job.ended
            data = bytes(job.outputs[stream][offset:])
            if data:
                offset += len(data)
                yield data
            elif ended:
                return
            else:
                await changed.wait()

    async def send_input(
        self, devbox: DevboxId, execution: ExecutionId, data: bytes | None
    ) -> None:
        stdin = self._job(devbox, execution).process.stdin
        if stdin is None:
            raise Conflict("it has no standard input")
        if data is None:
            stdin.close()
        else:
            stdin.write(data)

    async def signal(
        self, devbox: DevboxId, execution: ExecutionId, number: int, *, group: bool
    ) -> None:
        job = self._job(devbox, execution)
        if not job.ended:
            os.killpg(job.process.pid, number)

    def _path(self, devbox: DevboxId, path: str) -> Path:
        return self.disk(devbox) / path.removeprefix("~/").lstrip("/")

    async def read_file(
        self, devbox: DevboxId, path: str, account: str
    ) -> AsyncIterator[bytes]:
        file = self._path(devbox, path)
        if file.is_dir():
            raise InvalidRequest(f"{path} is a directory")
        if not file.exists():
            raise NotFound(f"there is no file {path}")
        with file.open("rb") as opened:
            while data := opened.read(1 << 16):
                yield data

    async def write_file(
        self, devbox: DevboxId, path: str, account: str, content: AsyncIterator[bytes]
    ) -> int:
        file = self._path(devbox, path)
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("wb") as opened:
            async for data in content:
                opened.write(data)
            return opened.tell()

    async def snapshot(self, devbox: DevboxId, snapshot: SnapshotId) -> int:
        await self._pass("snapshot", snapshot)
        shutil.copytree(self.disk(devbox), self.root / "snapshots" / snapshot)
        return 4096

    async def delete_snapshot(self, snapshot: SnapshotId) -> None:
        await self._pass("delete_snapshot", snapshot)
        shutil.rmtree(self.root / "snapshots" / snapshot, ignore_errors=True)

    async def snapshots(self) -> frozenset[SnapshotId]:
        found = self.root / "snapshots"
        return frozenset(SnapshotId(path.name) for path in found.glob("*"))
