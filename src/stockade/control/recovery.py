"""What is done at the start about what the last server left."""

from __future__ import annotations

from stockade.control.devbox_records import Devbox, DevboxRecords
from stockade.control.executions import Executions
from stockade.control.host import Host
from stockade.control.launch import Launcher
from stockade.control.states import ON_HOST, TERMINAL, FailureReason, Status
from stockade.control.suspending import Suspender
from stockade.spec import DevboxId

_LOST = "the server was ended while this devbox ran; its processes are gone"


class Recovery:
    """Makes the records and the host agree again."""

    def __init__(
        self,
        host: Host,
        records: DevboxRecords,
        executions: Executions,
        launcher: Launcher,
        suspender: Suspender,
    ) -> None:
        self._host = host
        self._records = records
        self._executions = executions
        self._launcher = launcher
        self._suspender = suspender

    async def run(self) -> None:
        """Before anything else is asked of devboxes."""
        running = await self._host.running()
        for devbox in await self._records.within(ON_HOST):
            await self._settle(devbox, running)
        for disk in await self._host.disks():
            found = await self._records.find(disk)
            if found is None or found.status in TERMINAL:
                await self._launcher.destroy(disk)

    async def _settle(self, devbox: Devbox, running: frozenset[DevboxId]) -> None:
        if devbox.status is Status.RUNNING and devbox.id in running:
            for record in await self._executions.records.running(devbox.id):
                self._executions.watch(record)
            return
        if devbox.status is Status.SUSPENDING:
            await self._suspender.finish(devbox)
            return
        if devbox.status is Status.PROVISIONING and devbox.boots:
            # It was being resumed: it can be again.
            await self._host.stop(devbox.id)
            await self._records.move(devbox.id, Status.SUSPENDED)
            return
        await self._records.move(
            devbox.id, Status.FAILURE, failure=FailureReason.HEALTH, message=_LOST
        )
        await self._launcher.destroy(devbox.id)
