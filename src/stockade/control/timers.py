"""What happens to devboxes by itself: time runs out, or they end unasked.

The times are in the database, so a restart does not give anybody more of it.
"""

from __future__ import annotations

import asyncio
import logging

from stockade.control.devbox_records import Devbox, DevboxRecords
from stockade.control.devboxes import Devboxes
from stockade.control.executions import Executions
from stockade.control.host import Host
from stockade.control.launch import Launcher
from stockade.control.launch_parameters import idle_rule
from stockade.control.states import ShutdownReason, Status, failure_of
from stockade.control.suspending import Suspender
from stockade.control.tasks import Tasks
from stockade.hosting import DevboxEnded

_EVERY_SECONDS = 1.0

_log = logging.getLogger(__name__)


class Timers:
    """Looks after devboxes whose time is over, and hears of those that ended."""

    def __init__(
        self,
        host: Host,
        records: DevboxRecords,
        devboxes: Devboxes,
        executions: Executions,
        launcher: Launcher,
        suspender: Suspender,
        tasks: Tasks,
    ) -> None:
        self._host = host
        self._records = records
        self._devboxes = devboxes
        self._executions = executions
        self._launcher = launcher
        self._suspender = suspender
        self._tasks = tasks

    def start(self) -> None:
        """Begin, as long as the tasks' owner lives."""
        self._tasks.start(self._tick_on(), "devbox timers")
        self._tasks.start(self._hear(), "devboxes that end")

    async def tick(self) -> None:
        """Do what is due now."""
        for devbox in await self._records.due():
            await self._expire(devbox)

    async def _tick_on(self) -> None:
        while True:
            await asyncio.sleep(_EVERY_SECONDS)
            try:
                await self.tick()
            except Exception:  # noqa: BLE001 - whatever it is, time goes on
                _log.exception("what is due is tried again")

    async def _expire(self, devbox: Devbox) -> None:
        rule = idle_rule(devbox.launch)
        if rule is None:
            await self._devboxes.end(devbox.id, ShutdownReason.KEEP_ALIVE)
        elif await self._executions.records.running(devbox.id, "exec"):
            # A command that takes long is no idleness.
            await self._records.touch(devbox.id)
        elif rule["on_idle"] == "suspend":
            await self._suspender.begin(devbox)
        else:
            await self._devboxes.end(devbox.id, ShutdownReason.IDLE)

    async def _hear(self) -> None:
        async for ended in self._host.ended():
            self._tasks.start(self._settle(ended), f"end of {ended.devbox}")

    async def _settle(self, ended: DevboxEnded) -> None:
        while True:
            try:
                moved = await self._records.move(
                    ended.devbox,
                    Status.FAILURE,
                    failure=failure_of(ended.cause),
                    message=ended.message,
                )
            except Exception:  # noqa: BLE001 - the host says this once only
                _log.exception("the end of a devbox", extra={"devbox": ended.devbox})
                await asyncio.sleep(_EVERY_SECONDS)
                continue
            if moved is not None:
                await self._launcher.destroy(ended.devbox)
            return
