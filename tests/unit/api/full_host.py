"""A host that has no room: it is asked everything, and no devbox ever runs on it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from stockade.errors import Unavailable
from stockade.hosting import DevboxEnded, DevboxPlan, PolicyInForce, SnapshotId
from stockade.spec import DevboxId, PolicyPush
from tests.unit.control.fake_policy_host import FakePolicyHost


class FullHost(FakePolicyHost):
    """What the services ask of a host of which nothing runs."""

    async def start(self, plan: DevboxPlan, push: PolicyPush) -> PolicyInForce:
        raise Unavailable("no room")

    async def stop(self, devbox: DevboxId) -> None:
        pass

    async def destroy(self, devbox: DevboxId) -> None:
        pass

    async def running(self) -> frozenset[DevboxId]:
        return frozenset()

    async def disks(self) -> frozenset[DevboxId]:
        return frozenset()

    async def snapshots(self) -> frozenset[SnapshotId]:
        return frozenset()

    async def delete_snapshot(self, snapshot: SnapshotId) -> None:
        pass

    async def ended(self) -> AsyncIterator[DevboxEnded]:
        await asyncio.Event().wait()
        yield DevboxEnded  # type: ignore[misc]
