"""The composition root of the server: which service gets what, and in which order.

Everything is started here, top to bottom, and stopped in the reverse order.
"""

from __future__ import annotations

import os
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from types import TracebackType
from typing import Final

from fastapi import FastAPI

from stockade.api.app import create_app
from stockade.api.services import Services
from stockade.config import Settings
from stockade.control.accounts import Accounts
from stockade.control.blobs import Blobs
from stockade.control.clock import system_clock
from stockade.control.configs import ConfigKind, Configs
from stockade.control.host import Host
from stockade.control.idempotency import Idempotency
from stockade.control.objects import Objects
from stockade.control.plane import DevboxPlane
from stockade.control.policies import Policies, PolicyRules
from stockade.control.rollouts import Rollouts
from stockade.control.sealing import Sealer, load_key
from stockade.control.secrets import Secrets
from stockade.control.store.base import Store
from stockade.server.database import open_store

_KEY_FILE: Final = "secret.key"
_OBJECTS: Final = "objects"
#: The largest content of a storage object, in bytes.
OBJECT_LIMIT: Final = 5 << 30


class Composition:
    """Everything behind the listener, from `async with` to its end.

    *host* is the machine that devboxes run on, started by this. *given_key* is the first
    account's key, if the operator chose one. *new_key* is one that was made at this
    start: it is known now and never again.
    """

    def __init__(
        self,
        settings: Settings,
        host: AbstractAsyncContextManager[Host],
        given_key: str | None,
    ) -> None:
        self._settings = settings
        self._host = host
        self._given_key = given_key
        self._stack = AsyncExitStack()
        self.new_key: str | None = None

    async def __aenter__(self) -> FastAPI:
        """Start all services; the application over them."""
        try:
            return await self._start()
        except BaseException:
            await self._stack.aclose()
            raise

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop them, the last one first."""
        await self._stack.__aexit__(kind, error, trace)

    async def _start(self) -> FastAPI:
        store = await self._stack.enter_async_context(open_store(self._settings))
        accounts = Accounts(store, system_clock, os.urandom)
        self.new_key = await accounts.start(self._given_key)
        host = await self._stack.enter_async_context(self._host)
        return create_app(await self._services(store, accounts, host))

    async def _services(self, store: Store, accounts: Accounts, host: Host) -> Services:
        enter = self._stack.enter_async_context
        settings, clock, chance = self._settings, system_clock, os.urandom
        sealer = Sealer(load_key(settings.data_dir / _KEY_FILE, chance), chance)
        secrets = Secrets(store, sealer, clock, chance)
        blobs = Blobs(settings.data_dir / _OBJECTS, OBJECT_LIMIT, chance)
        objects = await enter(Objects(store, blobs, sealer, clock, chance))
        gateway_configs = Configs(store, ConfigKind.GATEWAY, clock, chance)
        await gateway_configs.start()
        rollouts = await enter(Rollouts(store, host))
        rules = PolicyRules(settings.policy_limit, settings.policy_names == "unique")
        plane = DevboxPlane(
            store,
            host,
            rollouts,
            secrets,
            objects,
            clock,
            chance,
            machine=os.uname().machine,
        )
        return Services(
            accounts=accounts,
            idempotency=Idempotency(store, clock),
            policies=Policies(store, rollouts, clock, chance, rules),
            secrets=secrets,
            objects=objects,
            gateway_configs=gateway_configs,
            mcp_configs=Configs(store, ConfigKind.MCP, clock, chance),
            plane=await enter(plane),
        )
