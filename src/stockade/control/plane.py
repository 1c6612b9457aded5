"""All services of devboxes, put together: start it once, and stop it last."""

from __future__ import annotations

from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from stockade.control.changes import Changes
from stockade.control.clock import Clock
from stockade.control.devbox_plans import DevboxRequest, Source
from stockade.control.devbox_records import DevboxRecords
from stockade.control.devboxes import Devboxes
from stockade.control.execution_records import ExecutionRecords
from stockade.control.executions import Executions
from stockade.control.files import Files
from stockade.control.host import Host
from stockade.control.ids import Chance
from stockade.control.launch import Launcher, ObjectContents, SecretValues
from stockade.control.logs import Logs
from stockade.control.recovery import Recovery
from stockade.control.rollouts import Rollouts
from stockade.control.snapshots import Snapshots
from stockade.control.store.base import Store
from stockade.control.suspending import Suspender
from stockade.control.tasks import Tasks
from stockade.control.timers import Timers
from stockade.errors import InvalidRequest


class DevboxPlane:
    """Devboxes, their executions, files, snapshots and logs, on one host."""

    def __init__(
        self,
        store: Store,
        host: Host,
        rollouts: Rollouts,
        secrets: SecretValues,
        objects: ObjectContents,
        clock: Clock,
        chance: Chance,
        *,
        machine: str = "x86_64",
        default_policy: str | None = None,
    ) -> None:
        changes = Changes()
        self.tasks = Tasks()
        records = DevboxRecords(store, clock, changes)
        self.executions = Executions(
            ExecutionRecords(store, clock), host, changes, self.tasks, clock, chance
        )
        self.snapshots = Snapshots(store, host, changes, self.tasks, clock, chance)
        self.files = Files(host, records)
        self.logs = Logs(records, self.executions)
        launcher = Launcher(
            store, host, records, self.executions, rollouts, secrets, objects
        )
        suspender = Suspender(host, records, self.executions, launcher, self.tasks)
        self.devboxes = Devboxes(
            store,
            records,
            launcher,
            suspender,
            sources=_Sources(self.snapshots),
            disks=self.snapshots,
            changes=changes,
            tasks=self.tasks,
            clock=clock,
            chance=chance,
            machine=machine,
            default_policy=default_policy,
        )
        self._recovery = Recovery(host, records, self.executions, launcher, suspender)
        self.timers = Timers(
            host,
            records,
            self.devboxes,
            self.executions,
            launcher,
            suspender,
            self.tasks,
        )
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Settle what the last server left, and begin."""
        await self._stack.enter_async_context(self.tasks)
        try:
            await self._recovery.run()
            await self.snapshots.recover()
            self.timers.start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End all that goes on. Devboxes stay as they are."""
        await self._stack.__aexit__(kind, error, trace)


class _Sources:
    """What devboxes start from: the default image, or a snapshot."""

    def __init__(self, snapshots: Snapshots) -> None:
        self._snapshots = snapshots

    async def source(self, account: str, request: DevboxRequest) -> Source:
        """What *request* names."""
        if request.snapshot_id is not None:
            return await self._snapshots.source(account, request)
        blueprint = request.blueprint_id or request.blueprint_name
        if blueprint is not None:
            raise InvalidRequest(f"there is no blueprint {blueprint[:80]!r}")
        return Source()
