"""The application in the test's own process, over services with a fake host."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from fastapi import FastAPI

from stockade.api.app import create_app
from stockade.api.services import Services
from stockade.control.accounts import Accounts
from stockade.control.blobs import Blobs
from stockade.control.configs import ConfigKind, Configs
from stockade.control.idempotency import Idempotency
from stockade.control.objects import Objects
from stockade.control.plane import DevboxPlane
from stockade.control.policies import Policies
from stockade.control.rollouts import Rollouts
from stockade.control.sealing import Sealer, load_key
from stockade.control.secrets import Secrets
from stockade.control.store.base import Store
from stockade.control.store.migrating import migrate
from tests.unit.api.full_host import FullHost

KEY = "ak_0123456789abcdef0123"
START_MS = 1_700_000_000_000
OBJECT_LIMIT = 3 << 20


class FakeClock:
    """Time that goes on by a millisecond each time it is read, and when it is told."""

    def __init__(self) -> None:
        self._ticks = itertools.count(START_MS)
        self.ahead = 0

    def __call__(self) -> int:
        return next(self._ticks) + self.ahead


@dataclass
class Api:
    """The application and what is behind it. *http* has the first account's key."""

    app: FastAPI
    http: httpx2.AsyncClient
    store: Store
    host: FullHost
    clock: FakeClock
    directory: Path
    services: Services

    def client(self, key: str | None) -> httpx2.AsyncClient:
        """A client with another key."""
        headers = {} if key is None else {"authorization": f"Bearer {key}"}
        # What the application raises is to be a response, as with a real server.
        transport = httpx2.ASGITransport(app=self.app, raise_app_exceptions=True)
        return httpx2.AsyncClient(
            transport=transport, base_url="http://api.test", headers=headers
        )

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        """What a request that succeeds answers."""
        response = await self.http.request(method, path, json=body)
        assert response.status_code == 200, response.text
        return response.json()

    async def refused(
        self, status: int, method: str, path: str, body: Any = None
    ) -> dict[str, Any]:
        """What a request that is refused answers."""
        response = await self.http.request(method, path, json=body)
        return refusal(response, status)


def refusal(response: httpx2.Response, status: int) -> dict[str, Any]:
    """The body of a refusal, which has the form that all of them have."""
    assert response.status_code == status, response.text
    assert response.headers["x-should-retry"] == "false"
    assert response.headers["content-type"] == "application/json"
    body: dict[str, Any] = json.loads(response.content)
    assert isinstance(body["code"], str)
    assert isinstance(body["message"], str)
    return body


@asynccontextmanager
async def open_api(url: str, directory: Path) -> AsyncIterator[Api]:
    """The application over an empty database."""
    async with AsyncExitStack() as stack:
        store = Store(url)
        stack.push_async_callback(store.close)
        await migrate(store)
        clock, chance, host = FakeClock(), os.urandom, FullHost()
        accounts = Accounts(store, clock, chance)
        await accounts.start(KEY)
        sealer = Sealer(load_key(directory / "secret.key", chance), chance)
        rollouts = await stack.enter_async_context(Rollouts(store, host))
        blobs = Blobs(directory / "objects", OBJECT_LIMIT, chance)
        gateway_configs = Configs(store, ConfigKind.GATEWAY, clock, chance)
        await gateway_configs.start()
        secrets = Secrets(store, sealer, clock, chance)
        objects = await stack.enter_async_context(
            Objects(store, blobs, sealer, clock, chance)
        )
        full: Any = host
        plane = DevboxPlane(store, full, rollouts, secrets, objects, clock, chance)
        services = Services(
            accounts=accounts,
            idempotency=Idempotency(store, clock),
            policies=Policies(store, rollouts, clock, chance),
            secrets=secrets,
            objects=objects,
            gateway_configs=gateway_configs,
            mcp_configs=Configs(store, ConfigKind.MCP, clock, chance),
            plane=await stack.enter_async_context(plane),
        )
        app = create_app(services)
        api = Api(app, httpx2.AsyncClient(), store, host, clock, directory, services)
        await api.http.aclose()
        api.http = await stack.enter_async_context(api.client(KEY))
        yield api
