"""Guards the gateway's network: reads it back, repairs it, or ends the devboxes.

Nothing passes without rules, since nothing is routed; but what is not proven does not go
on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection, Mapping
from typing import Protocol

from stockade.host.changes import Changes
from stockade.host.slots import Slot

#: The network is read back so often when the kernel tells of no change.
VERIFY_SECONDS = 3.0
#: From a change that the kernel tells of until the network is read back: changes come in
#: groups, and most are our own.
SETTLE_SECONDS = 0.2
#: A reading is followed by a pause of so many times its own length: it must not become
#: all that is done while devboxes come and go.
PAUSE_SHARE = 4.0
#: What cannot be read or repaired is tried again, so many times in all.
RETRY_SECONDS = 0.3
MAX_FAILED = 3

_log = logging.getLogger(__name__)


class Network(Protocol):
    """What is guarded."""

    def changes(self) -> Changes:
        """What tells of changes."""

    def verify(self) -> list[str]:
        """What keeps enforcement from being proven."""

    def repair(self) -> Mapping[Slot, str]:
        """Repair it; the slots that could not be, with the reason. Raises if it fails."""


class NetworkGuard:
    """Guards *network*. *end* is given the slots whose devboxes must end; None for all."""

    def __init__(
        self, network: Network, end: Callable[[Collection[Slot] | None], None]
    ) -> None:
        self._network = network
        self._end = end
        self._failed = 0

    async def run(self) -> None:
        """Guard the network until this is cancelled."""
        loop = asyncio.get_running_loop()
        with contextlib.closing(self._network.changes()) as changes:
            while True:
                patience = RETRY_SECONDS if self._failed else VERIFY_SECONDS
                await _until_changed(changes, patience)
                began = loop.time()
                await self._prove()
                await asyncio.sleep(PAUSE_SHARE * (loop.time() - began))

    async def _prove(self) -> None:
        try:
            lost = await asyncio.to_thread(self._read_and_repair)
        except Exception as error:  # noqa: BLE001 - whatever it is, nothing is proven
            self._failed += 1
            if self._failed < MAX_FAILED:
                _log.warning("%s; trying again", error)
                return
            _log.error("%s; all devboxes are ended", error)
            self._end(None)
            return
        self._failed = 0
        for slot, reason in lost.items():
            _log.error("the devbox on %s is ended: %s", slot.interface, reason)
        if lost:
            self._end(lost)

    def _read_and_repair(self) -> Mapping[Slot, str]:
        problems = self._network.verify()
        if not problems:
            return {}
        _log.warning("the gateway's network was changed: %s", problems[0])
        return self._network.repair()


async def _until_changed(changes: Changes, seconds: float) -> None:
    """Wait until the kernel tells of a change, but not longer than *seconds*."""
    loop = asyncio.get_running_loop()
    changed = asyncio.Event()
    for descriptor in changes.filenos():
        loop.add_reader(descriptor, changed.set)
    try:
        async with asyncio.timeout(seconds):
            await changed.wait()
            await asyncio.sleep(SETTLE_SECONDS)
    except TimeoutError:
        pass
    finally:
        for descriptor in changes.filenos():
            loop.remove_reader(descriptor)
        changes.drain()
