"""How a devbox is suspended: its hooks run, its processes end, its disk stays."""

from __future__ import annotations

import asyncio

from stockade.control.devbox_records import Devbox, DevboxRecords
from stockade.control.executions import Executions
from stockade.control.host import Host
from stockade.control.launch import Launcher
from stockade.control.launch_parameters import DEFAULT_HOOK_MS
from stockade.control.states import FailureReason, Status
from stockade.control.tasks import Tasks
from stockade.errors import StockadeError


class Suspender:
    """Suspends devboxes."""

    def __init__(
        self,
        host: Host,
        records: DevboxRecords,
        executions: Executions,
        launcher: Launcher,
        tasks: Tasks,
    ) -> None:
        self._host = host
        self._records = records
        self._executions = executions
        self._launcher = launcher
        self._tasks = tasks

    async def begin(self, devbox: Devbox) -> Devbox | None:
        """Let a devbox be `suspending`, and see to the rest; None if it does not run."""
        moved = await self._records.move(devbox.id, Status.SUSPENDING)
        if moved is not None:
            self._tasks.start(self._suspend(moved), f"suspend {devbox.id}")
        return moved

    async def finish(self, devbox: Devbox) -> None:
        """Stop a devbox that is `suspending`."""
        try:
            async with self._launcher.turns[devbox.id]:
                await self._host.stop(devbox.id)
                for record in await self._executions.records.running(devbox.id):
                    await self._executions.give_up(record)
                await self._records.move(devbox.id, Status.SUSPENDED)
        except StockadeError as error:
            await self._records.move(
                devbox.id,
                Status.FAILURE,
                failure=FailureReason.HEALTH,
                message=f"it could not be suspended: {error}",
            )
            await self._launcher.destroy(devbox.id)

    async def _suspend(self, devbox: Devbox) -> None:
        await self._run_hooks(devbox)
        await self.finish(devbox)

    async def _run_hooks(self, devbox: Devbox) -> None:
        hooks = devbox.launch.get("lifecycle", {}).get("lifecycle_hooks", {})
        deadline = hooks.get("suspend_deadline_ms", DEFAULT_HOOK_MS) / 1000
        try:
            async with asyncio.timeout(deadline):
                for command in hooks.get("suspend_commands", ()):
                    record = await self._executions.start(
                        devbox, command, source="setup_commands"
                    )
                    await self._executions.finish(record)
        except TimeoutError:
            message = f"the suspend hooks were not done after {deadline:g} s"
            await self._records.note(devbox.id, "warn", message)
        except StockadeError as error:
            # A hook that fails is no reason to go on running.
            await self._records.note(devbox.id, "warn", f"a suspend hook: {error}")
