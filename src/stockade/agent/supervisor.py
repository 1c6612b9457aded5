"""Keeps a gateway process running, and every devbox attached to it.

The sockets belong to the agent and are inherited by each gateway process in turn. While
there is none, connections wait in the kernel and datagrams are dropped: nothing passes.
A new process is told every devbox with its policy before it is told to serve.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from stockade.agent.control_client import ControlClient, GatewayGone, RecordStream
from stockade.agent.launch import GatewayProcess, start_gateway
from stockade.agent.records import RecordBook
from stockade.command import Process
from stockade.errors import EnforcementError
from stockade.gateway.flowlog import FlowRecord
from stockade.gateway.settings import GatewaySettings
from stockade.spec import PolicyPush

RESTART_PAUSE = 0.05
MAX_RESTART_PAUSE = 5.0
STABLE_SECONDS = 10.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Attachment:
    """A devbox as gateways are told of it."""

    devbox: str
    addresses: tuple[str, ...]
    push: PolicyPush
    account: str | None = None


@dataclass(frozen=True, slots=True)
class InForce:
    """The gateway's word that a generation is in force, and how many flows that cut."""

    generation: int
    digest: str
    cut: int


class GatewaySupervisor:
    """Restarts gateways, and speaks to the one that runs; the first is given."""

    def __init__(
        self,
        settings: GatewaySettings,
        gateway: GatewayProcess,
        on_record: Callable[[FlowRecord], None],
        on_missed: Callable[[int], None],
    ) -> None:
        self._settings = settings
        self._book = RecordBook(on_record)
        self._on_missed = on_missed
        self._gateway: GatewayProcess | None = gateway
        self._control: ControlClient | None = None
        self._records: RecordStream | None = None
        self._attached: dict[str, Attachment] = {}
        self._watching: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()

    @property
    def pid(self) -> int | None:
        """The process id of the gateway that runs."""
        return self._gateway.process.pid if self._gateway else None

    async def start(self) -> None:
        """Wait for the gateway launched, and keep one running from here on.

        Raises `EnforcementError` when it does not come up.
        """
        await self._connect()
        self._watching = asyncio.get_running_loop().create_task(self._watch())

    async def stop(self) -> None:
        """End the gateway. Safe to call twice, and before `start`."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        await self._disconnect()
        if self._gateway is not None:
            # Nothing it still has to do: its flows have ended with their devboxes.
            self._gateway.process.kill()
            await _ended(self._gateway.process)
            self._gateway = None
        self._book.gateway_ended()

    async def attach(self, attachment: Attachment) -> InForce:
        """Tell the gateway of a devbox; returns once its policy is in force."""
        if attachment.devbox in self._attached:
            raise EnforcementError(f"{attachment.devbox} is attached already")
        self._attached[attachment.devbox] = attachment
        try:
            return await self._persist(lambda: self._attach(attachment))
        except EnforcementError:
            del self._attached[attachment.devbox]
            raise

    async def update(self, devbox: str, push: PolicyPush) -> InForce:
        """Put another policy, or generation, in force for a devbox.

        Raises `EnforcementError` when the gateway refuses it; what was in force still
        is, also after the next start of a gateway.
        """
        before = self._attached[devbox]
        self._attached[devbox] = told = replace(before, push=push)
        try:
            return await self._persist(
                lambda: self._request("update", devbox=devbox, push=push.to_mapping())
            )
        except GatewayGone:
            raise  # It may be in force; the next gateway is told of it.
        except EnforcementError:
            if self._attached.get(devbox) is told:
                self._attached[devbox] = before
            raise

    async def detach(self, devbox: str) -> None:
        """Forget a devbox; returns when its flows have ended and are on record."""
        self._attached.pop(devbox, None)
        self._book.forget(devbox)
        with contextlib.suppress(GatewayGone):
            await self._request_plain("detach", devbox=devbox)
        # The records of its last questions came meanwhile.
        await self.flush_records()
        self._book.forget(devbox)

    async def status(self) -> dict[str, Any]:
        """What the gateway says of itself."""
        return await self._request_plain("status")

    async def flush_records(self) -> None:
        """Return when every record written until now has been handed over."""
        if self._records is not None:
            await self._records.flush()

    async def _connect(self) -> None:
        """Meet a new gateway: tell it every devbox, then let it serve."""
        assert self._gateway is not None  # noqa: S101 - there is one until `stop`
        self._control = await ControlClient.connect(self._gateway.control)
        self._records = RecordStream(self._book.take, self._on_missed)
        await self._records.start(self._gateway.records)
        for attachment in self._attached.values():
            await self._attach(attachment)
        await self._control.request("serve")
        self._ready.set()

    async def _disconnect(self) -> None:
        self._ready.clear()
        if self._control is not None:
            await self._control.close()
        if self._records is not None:
            await self._records.stop()

    async def _attach(self, attachment: Attachment) -> InForce:
        return await self._request(
            "attach",
            devbox=attachment.devbox,
            addresses=attachment.addresses,
            account=attachment.account,
            lookups=self._book.lookups(attachment.devbox),
            push=attachment.push.to_mapping(),
        )

    async def _request(self, op: str, **fields: Any) -> InForce:
        reply = await self._request_plain(op, **fields)
        return InForce(reply["generation"], reply["digest"], reply["cut"])

    async def _request_plain(self, op: str, **fields: Any) -> dict[str, Any]:
        if self._control is None:
            raise GatewayGone("no gateway is running")
        return await self._control.request(op, **fields)

    async def _persist(self, ask: Callable[[], Any]) -> InForce:
        """Ask; and when the gateway dies meanwhile, rely on the next one being told.

        A new gateway is told every attachment before it serves, so it is in force
        there.
        """
        await self._ready.wait()
        try:
            result: InForce = await ask()
        except GatewayGone:
            await asyncio.sleep(0)
            await self._ready.wait()
            result = await ask()
        return result

    async def _watch(self) -> None:
        pause = RESTART_PAUSE
        loop = asyncio.get_running_loop()
        while True:
            started = loop.time()
            assert self._gateway is not None  # noqa: S101 - there is one until `stop`
            process = self._gateway.process
            await _ended(process)
            await self._disconnect()
            self._book.gateway_ended()
            if loop.time() - started > STABLE_SECONDS:
                pause = RESTART_PAUSE
            _log.warning("the gateway ended (%s); starting another", process.returncode)
            await asyncio.sleep(pause)
            pause = min(pause * 2, MAX_RESTART_PAUSE)
            self._gateway = start_gateway(self._settings)
            try:
                await self._connect()
            except (OSError, EnforcementError) as error:
                _log.error("the new gateway is not usable: %s", error)
                self._gateway.process.kill()


async def _ended(process: Process[bytes]) -> None:
    """Wait for the end of *process* without a thread, by its pidfd."""
    if process.poll() is not None:
        return
    loop = asyncio.get_running_loop()
    pidfd = os.pidfd_open(process.pid)
    done = asyncio.Event()
    loop.add_reader(pidfd, done.set)
    try:
        await done.wait()
    finally:
        loop.remove_reader(pidfd)
        os.close(pidfd)
    process.wait()
