"""The host agent: one gateway, the devboxes behind it, and the order in which they start.

The order is the promise: the gateway has acknowledged the policy, then the slot's
addresses are let in and the interface exists, then the ruleset is read back and found
right, then the first instruction runs. Whatever fails on the way, the devbox does not
start.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from stockade.agent.guard import NetworkGuard
from stockade.agent.launch import Launched
from stockade.agent.supervisor import Attachment, InForce
from stockade.agent.threads import in_thread
from stockade.agent.workers import GatewayWorkers
from stockade.config import Settings
from stockade.errors import EnforcementError, StockadeError, Unavailable
from stockade.gateway.flowlog import FlowRecord
from stockade.host.slots import MAX_INDEX, Slot
from stockade.runtime.binds import Volume
from stockade.runtime.box import Box, BoxExit
from stockade.runtime.driver import Stdio
from stockade.runtime.images import Image
from stockade.runtime.prepare import BoxRequest
from stockade.spec import DevboxId, DevboxSpec, PolicyPush

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Devbox:
    """A devbox that runs, or has ended."""

    spec: DevboxSpec
    slot: Slot
    box: Box
    pid: int

    async def wait(self) -> BoxExit:
        """Wait for its command to end."""
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        loop.add_reader(self.box.pidfd, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(self.box.pidfd)
        return await asyncio.to_thread(self.box.wait)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to its command."""
        self.box.signal(number)


class HostAgent:
    """Runs devboxes on this machine, behind a gateway that was launched for it.

    *on_record* is given each completed flow record, *on_missed* the number of records
    that could not be taken.
    """

    def __init__(
        self,
        settings: Settings,
        launched: Launched,
        on_record: Callable[[FlowRecord], None],
        on_missed: Callable[[int], None],
    ) -> None:
        self._settings = settings
        self._network = launched.network
        self._gateway = GatewayWorkers(launched, on_record, on_missed)
        self._devboxes: dict[str, Devbox] = {}
        self._free = iter(range(MAX_INDEX + 1))
        self._returned: list[int] = []
        self._guard = NetworkGuard(launched.network, self._end)
        self._guarding: asyncio.Task[None] | None = None
        #: The devboxes that were ended because their enforcement was not proven.
        self.lost: set[str] = set()
        self._stopping = False

    async def __aenter__(self) -> Self:
        """Start, and stop at the end of the block."""
        try:
            await self.start()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop."""
        await self.stop()

    async def start(self) -> None:
        """Finish the gateway's network, wait for its process, and guard both."""
        await asyncio.gather(
            asyncio.to_thread(self._network.configure), self._gateway.start()
        )
        self._guarding = asyncio.get_running_loop().create_task(self._guard.run())

    async def stop(self) -> None:
        """End all devboxes, then the gateway with its namespace. Safe to call twice."""
        self._stopping = True
        if self._guarding is not None:
            self._guarding.cancel()
            await asyncio.gather(self._guarding, return_exceptions=True)
        for devbox in tuple(self._devboxes.values()):
            await self.remove(devbox)
        await self._gateway.flush_records()
        await self._gateway.stop()
        self._network.stop()

    async def prepare(
        self,
        spec: DevboxSpec,
        image: Image,
        stdio: Stdio | None,
        *,
        console_size: tuple[int, int] | None = None,
        disk: Path | None = None,
        volumes: tuple[Volume, ...] = (),
        nesting: bool = False,
    ) -> Devbox:
        """Make a devbox that waits: no network, and nothing of the image has run.

        *stdio* is what its command reads and writes; None for a spec with a terminal.
        *disk* is a directory to keep its files in, that stays; else they go with it.
        With *volumes*, and *nesting*, it is a builder of images and has those directories.
        """
        slot = Slot(self._returned.pop() if self._returned else self._next_slot())
        box = Box(
            BoxRequest(
                spec,
                image,
                self._settings.run_dir / spec.id,
                nameservers=(slot.gateway4,),
                runtime=self._settings.runtime,
                trust_host_cas=self._settings.trust_host_cas,
                extra_ca_files=self._settings.extra_ca_files,
                console_size=console_size,
                disk=disk,
                keep_disk=disk is not None,
                volumes=volumes,
                nesting=nesting,
            )
        )

        def make() -> int:
            box.prepare()
            return box.create(stdio)

        try:
            pid = await in_thread(make)
        except BaseException:
            await in_thread(box.remove)
            self._returned.append(slot.index)
            raise
        devbox = Devbox(spec, slot, box, pid)
        self._devboxes[spec.id] = devbox
        return devbox

    def name(self, devbox: Devbox, name: DevboxId, env: Mapping[str, str]) -> Devbox:
        """Give a prepared devbox another name, and what its commands are to see."""
        del self._devboxes[devbox.spec.id]
        devbox.box.set_env(env)
        named = replace(devbox, spec=replace(devbox.spec, id=name, env=env))
        self._devboxes[name] = named
        return named

    async def release(self, devbox: Devbox, push: PolicyPush) -> InForce:
        """Put a prepared devbox under its policy, give it a network, and let it run.

        Raises `EnforcementError`, having removed the devbox, when its enforcement
        cannot be set up or proven.
        """
        slot = devbox.slot
        addresses = (str(slot.devbox4), str(slot.devbox6))
        try:
            in_force = await self._gateway.attach(
                Attachment(devbox.spec.id, addresses, push), slot
            )
            _check_in_force(in_force, push)
            await in_thread(lambda: self._connect(devbox))
        except BaseException:
            await self.remove(devbox)
            raise
        return in_force

    async def update_policy(self, devbox: Devbox, push: PolicyPush) -> InForce:
        """Put another policy, or generation, in force; returns once it is."""
        return await self._gateway.update(devbox.spec.id, push)

    async def update_policies(
        self, devboxes: Sequence[str], push: PolicyPush
    ) -> dict[str, InForce | StockadeError]:
        """Put one policy in force for many devboxes; what came of it for each."""
        return await self._gateway.update_all(devboxes, push)

    async def remove(self, devbox: Devbox) -> None:
        """End a devbox and take away all that belongs to it."""
        if self._devboxes.pop(devbox.spec.id, None) is None:
            return
        try:
            # Its interface goes with its namespace, so there is nothing left to police.
            await in_thread(devbox.box.remove)
        finally:
            self.lost.discard(devbox.spec.id)
            # Whatever is left of its files, its slot is free for another.
            await self._gateway.detach(devbox.spec.id)
            if not self._stopping:
                await in_thread(lambda: self._network.detach(devbox.slot))
                self._returned.append(devbox.slot.index)

    def _connect(self, devbox: Devbox) -> None:
        self._network.attach(devbox.slot, devbox.pid)
        problems = self._network.verify()
        if problems:
            raise EnforcementError(f"enforcement is not proven: {problems[0]}")
        devbox.box.start()

    def _next_slot(self) -> int:
        index = next(self._free, None)
        if index is None:
            raise Unavailable(f"all {MAX_INDEX + 1} slots of this gateway are in use")
        return index

    def refused_packets(self) -> Mapping[str, int]:
        """Packets that the kernel refused of all devboxes, by what was wrong with them."""
        return self._network.counters()

    def _end(self, slots: Collection[Slot] | None) -> None:
        """End the devboxes on *slots*, or all: their enforcement is not proven."""
        for devbox in tuple(self._devboxes.values()):
            if slots is None or devbox.slot in slots:
                self.lost.add(devbox.spec.id)
                devbox.signal(signal.SIGKILL)


def _check_in_force(in_force: InForce, push: PolicyPush) -> None:
    if in_force.digest != push.digest or in_force.generation != push.generation:
        raise EnforcementError("the gateway has another policy in force")
