"""The gateway processes of one host, spoken to as one gateway.

Each worker serves lanes of its own, and a devbox is in one lane: all that is known of it
(its policy, its lookups, its flows) is in one process, and nothing has to be kept equal
between two. A worker that dies takes only its own devboxes with it, until it is back.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence
from typing import Any

from stockade.agent.launch import Launched
from stockade.agent.supervisor import Attachment, GatewaySupervisor, InForce
from stockade.errors import NotFound, StockadeError
from stockade.gateway.flowlog import FlowRecord
from stockade.host.slots import Slot
from stockade.spec import PolicyPush


class GatewayWorkers:
    """A supervisor for each worker, and which of them has which devbox."""

    def __init__(
        self,
        launched: Launched,
        on_record: Callable[[FlowRecord], None],
        on_missed: Callable[[int], None],
    ) -> None:
        # Each worker numbers its flows by itself.
        numbers = itertools.count(1)

        def renumbered(record: FlowRecord) -> None:
            on_record(record._replace(id=next(numbers)))

        alone = len(launched.gateways) == 1
        self._lanes = launched.lanes
        self._workers = tuple(
            GatewaySupervisor(
                settings, process, on_record if alone else renumbered, on_missed
            )
            for settings, process in launched.gateways
        )
        self._of: dict[str, GatewaySupervisor] = {}

    async def start(self) -> None:
        """Wait for all workers. Raises `EnforcementError` if one does not come up."""
        await asyncio.gather(*(worker.start() for worker in self._workers))

    async def stop(self) -> None:
        """End all workers. Safe to call twice, and before `start`."""
        await asyncio.gather(*(worker.stop() for worker in self._workers))

    async def attach(self, attachment: Attachment, slot: Slot) -> InForce:
        """Tell the worker of *slot* of a devbox; returns once its policy is in force."""
        worker = self._workers[slot.lane(self._lanes) % len(self._workers)]
        # Also if that fails: the worker may know of the devbox, until it is detached.
        self._of[attachment.devbox] = worker
        return await worker.attach(attachment)

    async def update(self, devbox: str, push: PolicyPush) -> InForce:
        """Put another policy, or generation, in force for a devbox."""
        return await self._worker_of(devbox).update(devbox, push)

    async def update_all(
        self, devboxes: Sequence[str], push: PolicyPush
    ) -> dict[str, InForce | StockadeError]:
        """Put one policy in force for many devboxes; what came of it for each."""
        said: dict[str, InForce | StockadeError] = {}
        by_worker: dict[GatewaySupervisor, list[str]] = {}
        for name in devboxes:
            worker = self._of.get(name)
            if worker is None:
                said[name] = NotFound(f"no devbox {name} is attached")
            else:
                by_worker.setdefault(worker, []).append(name)
        answers = await asyncio.gather(
            *(worker.update_all(names, push) for worker, names in by_worker.items())
        )
        for answer in answers:
            said |= answer
        return said

    async def detach(self, devbox: str) -> None:
        """Forget a devbox; returns when its flows have ended and are on record."""
        worker = self._of.pop(devbox, None)
        if worker is not None:
            await worker.detach(devbox)

    async def status(self) -> list[dict[str, Any]]:
        """What each worker says of itself."""
        return list(await asyncio.gather(*(w.status() for w in self._workers)))

    async def flush_records(self) -> None:
        """Return when every record written until now has been handed over."""
        await asyncio.gather(*(worker.flush_records() for worker in self._workers))

    def _worker_of(self, devbox: str) -> GatewaySupervisor:
        try:
            return self._of[devbox]
        except KeyError:
            raise NotFound(f"no devbox {devbox} is attached") from None
