"""The services of devboxes over a fake host, for tests that play scenes with them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stockade.control.accounts import Accounts
from stockade.control.devbox_records import Devbox
from stockade.control.execution_records import Record
from stockade.control.object_values import ObjectState, StoredObject
from stockade.control.plane import DevboxPlane
from stockade.control.policies import Policies
from stockade.control.rollouts import Rollouts
from stockade.control.states import TERMINAL, Status
from stockade.control.store.base import Store
from stockade.control.store.tables import METADATA
from stockade.errors import InvalidRequest, NotFound
from tests.unit.control.fake_host import FakeHost

KEY = "ak_0123456789abcdef0123"


class Clock:
    """Time that a test may let pass."""

    def __init__(self) -> None:
        self.now = 1_795_000_000_000

    def __call__(self) -> int:
        self.now += 1
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += int(seconds * 1000)


class FakeSecrets:
    """Secrets by name."""

    def __init__(self) -> None:
        self.known: dict[str, str] = {}

    async def values(self, account: str, names: Iterable[str]) -> Mapping[str, str]:
        wanted = list(names)
        for name in wanted:
            if name not in self.known:
                raise InvalidRequest(f"there is no secret {name}")
        return {name: self.known[name] for name in wanted}


class FakeObjects:
    """Objects by id: a content type and a content."""

    def __init__(self) -> None:
        self.known: dict[str, tuple[str, bytes]] = {}

    async def get(self, account: str, object_id: str) -> StoredObject:
        if object_id not in self.known:
            raise NotFound(f"there is no object {object_id}")
        kind, content = self.known[object_id]
        return StoredObject(
            object_id,
            "an object",
            kind,
            ObjectState.READ_ONLY,
            {},
            len(content),
            0,
            None,
        )

    async def content(self, account: str, object_id: str) -> AsyncIterator[bytes]:
        async def pieces() -> AsyncIterator[bytes]:
            yield self.known[object_id][1]

        return pieces()


@dataclass
class World:
    """The services with what is around them."""

    plane: DevboxPlane
    policies: Policies
    store: Store
    host: FakeHost
    secrets: FakeSecrets
    objects: FakeObjects
    clock: Clock
    account: str
    other: str
    accounts: Accounts
    other_key: str

    async def create(self, **body: Any) -> Devbox:
        """A devbox when it runs or has failed."""
        devbox = await self.plane.devboxes.create(self.account, body)
        return await self.until(devbox, Status.RUNNING, *TERMINAL)

    async def until(self, devbox: str, *statuses: Status) -> Devbox:
        return await self.plane.devboxes.wait(self.account, devbox, statuses, 10)

    async def run(self, devbox: Devbox, command: str, **more: Any) -> Record:
        """An execution when it has ended."""
        record = await self.plane.executions.start(devbox, command, **more)
        async with asyncio.timeout(10):
            return await self.plane.executions.finish(record)


@asynccontextmanager
async def open_world(
    url: str, path: Path, host: FakeHost | None = None, clock: Clock | None = None
) -> AsyncIterator[World]:
    """The services; a second time with the same *host* is what a restart is."""
    clock = clock or Clock()
    host = host or FakeHost(path)
    async with AsyncExitStack() as stack:
        store = Store(url)
        stack.push_async_callback(store.close)
        async with store.engine.begin() as connection:
            await connection.run_sync(METADATA.create_all)
        accounts = Accounts(store, clock, os.urandom)
        await accounts.start(KEY)
        other_key = ""
        known = {account.name: account.id for account in await accounts.accounts()}
        if "other" not in known:
            other, key = await accounts.create_account("other")
            other_key = key.secret or ""
            known["other"] = other.id
        rollouts = await stack.enter_async_context(Rollouts(store, host))
        secrets, objects = FakeSecrets(), FakeObjects()
        stack.push_async_callback(host.close)
        plane = DevboxPlane(store, host, rollouts, secrets, objects, clock, os.urandom)
        await stack.enter_async_context(plane)
        policies = Policies(store, rollouts, clock, os.urandom)
        mine = next(one for name, one in known.items() if name != "other")
        yield World(
            plane,
            policies,
            store,
            host,
            secrets,
            objects,
            clock,
            mine,
            known["other"],
            accounts,
            other_key,
        )
