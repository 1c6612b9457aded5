"""Speaks to the gateway that runs, and sees that every devbox is attached to it.

The sockets belong to the agent and are inherited by each gateway process in turn. While
there is none, connections wait in the kernel and datagrams are dropped: nothing passes.
A new process is told every devbox with its policy before it is told to serve.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from stockade.agent.control_client import (
    ControlClient,
    GatewayGone,
    Quarantined,
    RecordStream,
    raise_if_refused,
)
from stockade.agent.keeper import GatewayKeeper
from stockade.agent.launch import GatewayProcess
from stockade.agent.records import RecordBook
from stockade.agent.watchdog import Watchdog
from stockade.errors import EnforcementError, NotFound, StockadeError
from stockade.gateway.flowlog import FlowRecord
from stockade.gateway.settings import GatewaySettings
from stockade.spec import PolicyPush

#: How long a request waits for a gateway that is being replaced.
PATIENCE = 30.0
# Devboxes that a new gateway is told of before their answers are waited for.
_TOLD_AT_ONCE = 64

_T = TypeVar("_T")

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
    """The devboxes of one host, as its gateway has to know them."""

    def __init__(
        self,
        settings: GatewaySettings,
        gateway: GatewayProcess,
        on_record: Callable[[FlowRecord], None],
        on_missed: Callable[[int], None],
    ) -> None:
        self._book = RecordBook(on_record)
        self._on_missed = on_missed
        self._keeper = GatewayKeeper(
            settings, gateway, meet=self._meet, watch=self._watch, part=self._part
        )
        self._control: ControlClient | None = None
        self._records: RecordStream | None = None
        self._attached: dict[str, Attachment] = {}
        # The latest push that was acknowledged; and who the gateway was told of.
        self._in_force: dict[str, PolicyPush] = {}
        self._known: set[str] = set()
        self._ready = asyncio.Event()

    async def start(self) -> None:
        """Wait for the gateway launched, and keep one running from here on.

        Raises `EnforcementError` if it does not come up.
        """
        await self._keeper.start()

    async def stop(self) -> None:
        """End the gateway. Safe to call twice, and before `start`."""
        await self._keeper.stop()

    async def attach(self, attachment: Attachment) -> InForce:
        """Tell the gateway of a devbox; returns once its policy is in force.

        Raises `EnforcementError` when it refuses.
        """
        name = attachment.devbox
        if name in self._attached:
            raise EnforcementError(f"{name} is attached already")
        self._attached[name] = attachment
        try:
            done = await self._persist(lambda: self._tell(attachment))
        except BaseException:
            self._attached.pop(name, None)
            raise
        self._in_force[name] = attachment.push
        return done

    async def update(self, devbox: str, push: PolicyPush) -> InForce:
        """Put another policy, or generation, in force for a devbox.

        Raises `NotFound` for a devbox that is not attached; `Conflict` for a generation
        that may not follow the one before; `Quarantined` when it cannot be applied and
        everything is denied; `EnforcementError` when the gateway refuses it. What is
        in force, or denied, then, still is after the next start of a gateway.
        """
        said = (await self.update_all((devbox,), push))[devbox]
        if isinstance(said, StockadeError):
            raise said
        return said

    async def update_all(
        self, devboxes: Sequence[str], push: PolicyPush
    ) -> dict[str, InForce | StockadeError]:
        """Put one policy in force for many devboxes; what came of it for each.

        Raises `GatewayGone` when there is no gateway for long; the next one is told.
        """
        said: dict[str, InForce | StockadeError] = {}
        for name in devboxes:
            before = self._attached.get(name)
            if before is None:
                said[name] = NotFound(f"no devbox {name} is attached")
                continue
            try:
                push.check_follows(before.push)
            except StockadeError as error:
                said[name] = error
            else:
                self._attached[name] = replace(before, push=push)
        told = [name for name in devboxes if name not in said]
        if told:
            answer = await self._persist(
                lambda: self._request("update", devboxes=told, push=push.to_mapping())
            )
            for name, one in answer["devboxes"].items():
                said[name] = self._settle(name, push, one)
        return said

    async def detach(self, devbox: str) -> None:
        """Forget a devbox; returns when its flows have ended and are on record."""
        self._attached.pop(devbox, None)
        self._in_force.pop(devbox, None)
        self._known.discard(devbox)
        self._book.forget(devbox)
        with contextlib.suppress(GatewayGone):
            await self._request("detach", devbox=devbox)
        # The records of its last questions came meanwhile.
        await self.flush_records()
        self._book.forget(devbox)

    async def status(self) -> dict[str, Any]:
        """What the gateway says of itself."""
        return await self._request("status")

    async def flush_records(self) -> None:
        """Return when every record written until now has been handed over."""
        if self._records is not None:
            await self._records.flush()

    async def _meet(self, gateway: GatewayProcess) -> None:
        """Tell a new gateway every devbox, then let it serve."""
        self._control = await ControlClient.connect(gateway.control)
        self._records = RecordStream(self._book.take, self._on_missed)
        await self._records.start(gateway.records)
        await self._tell_all()
        await self._control.request("serve")
        self._ready.set()

    async def _watch(self, gateway: GatewayProcess) -> str:
        control, records = self._control, self._records
        assert control is not None and records is not None  # noqa: S101, PT018 - met

        def is_connected() -> bool:
            return not (control.ended or records.ended)

        return await Watchdog(gateway.process, control, is_connected).until_useless()

    async def _part(self) -> None:
        """Let go of a gateway that has ended."""
        self._ready.clear()
        self._known.clear()
        control, records = self._control, self._records
        self._control = self._records = None
        if control is not None:
            await control.close()
        if records is not None:
            await records.stop()  # Not before the last that it wrote was read.
        self._book.gateway_ended()

    async def _tell_all(self) -> None:
        """Tell a new gateway of every devbox. One it refuses is denied everything."""
        while untold := [a for n, a in self._attached.items() if n not in self._known]:
            told = untold[:_TOLD_AT_ONCE]
            answers = await asyncio.gather(
                *(self._tell(one) for one in told), return_exceptions=True
            )
            for one, answer in zip(told, answers, strict=True):
                if isinstance(answer, GatewayGone):
                    raise answer
                if isinstance(answer, BaseException):
                    _log.error("%s is not served: %s", one.devbox, answer)

    async def _tell(self, attachment: Attachment) -> InForce:
        """Tell the gateway of a devbox, unless it was told when it started."""
        name, push = attachment.devbox, attachment.push.to_mapping()
        if name not in self._attached:
            raise NotFound(f"{name} is detached")
        if name in self._known:
            answer = await self._request("update", devboxes=[name], push=push)
            return _in_force(answer["devboxes"][name])
        self._known.add(name)
        return _in_force(
            await self._request(
                "attach",
                devbox=name,
                addresses=attachment.addresses,
                account=attachment.account,
                lookups=self._book.lookups(name),
                push=push,
            )
        )

    def _settle(
        self, name: str, push: PolicyPush, answer: dict[str, Any]
    ) -> InForce | StockadeError:
        """Note what a gateway answered to a push."""
        try:
            done = _in_force(answer)
        except Quarantined as error:
            return error  # The next gateway is told the same, and denies as well.
        except EnforcementError as error:
            attached = self._attached.get(name)
            if (
                attached is not None
                and attached.push is push
                and name in self._in_force
            ):
                self._attached[name] = replace(attached, push=self._in_force[name])
            return error
        if name in self._attached:
            self._in_force[name] = push
        return done

    async def _request(self, op: str, **fields: Any) -> dict[str, Any]:
        if self._control is None:
            raise GatewayGone("no gateway is running")
        return await self._control.request(op, **fields)

    async def _persist(self, ask: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        """Ask; and when the gateway dies meanwhile, ask the next one.

        That has been told every attachment before it serves. Raises `GatewayGone` when
        none comes up for long.
        """
        try:
            async with asyncio.timeout(PATIENCE):
                while True:
                    await self._ready.wait()
                    asked = self._control
                    try:
                        return await ask()
                    except GatewayGone:
                        self._give_up(asked)
        except TimeoutError:
            raise GatewayGone(f"there was no gateway for {PATIENCE:g} s") from None

    def _give_up(self, control: ControlClient | None) -> None:
        """Have a gateway replaced that ended its connection, or does not answer."""
        if control is self._control:
            self._ready.clear()
            self._keeper.replace()


def _in_force(answer: dict[str, Any]) -> InForce:
    """What *answer* says is in force. Raises what it says is wrong."""
    raise_if_refused("a policy", answer)
    return InForce(answer["generation"], answer["digest"], answer["cut"])
