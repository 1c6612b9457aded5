"""The application over devboxes on a fake host, on a loopback port, for real clients."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from runloop_api_client import AsyncRunloop

from stockade.api.app import create_app
from stockade.api.services import Services
from stockade.control.idempotency import Idempotency
from stockade.server.listening import Address, bind, serving
from tests.unit.control.devbox_world import KEY, World, open_world


@dataclass
class DevboxApi:
    """The server, a strict official client, a plain one, and what is behind it all."""

    url: str
    sdk: AsyncRunloop
    http: httpx2.AsyncClient
    world: World


@asynccontextmanager
async def open_devbox_api(path: Path) -> AsyncIterator[DevboxApi]:
    """A server that answers."""
    nothing: Any = None
    async with open_world(f"sqlite:///{path}/state.db", path) as world:
        services = Services(
            accounts=world.accounts,
            idempotency=Idempotency(world.store, world.clock),
            policies=world.policies,
            secrets=nothing,
            objects=nothing,
            gateway_configs=nothing,
            mcp_configs=nothing,
            plane=world.plane,
        )
        listener = bind(Address("127.0.0.1", 0))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        headers = {"authorization": f"Bearer {KEY}"}
        async with (
            serving(listener, create_app(services), None, 2),
            AsyncRunloop(
                base_url=url,
                bearer_token=KEY,
                max_retries=2,
                _strict_response_validation=True,
            ) as sdk,
            httpx2.AsyncClient(base_url=url, headers=headers, timeout=30) as http,
        ):
            yield DevboxApi(url, sdk, http, world)
