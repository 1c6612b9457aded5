"""The composition root of the server: which service gets what, and in which order.

Everything is started here, top to bottom, and stopped in the reverse order.
"""

from __future__ import annotations

import os
from contextlib import AsyncExitStack
from types import TracebackType

from fastapi import FastAPI

from stockade.api.app import create_app
from stockade.api.services import Services
from stockade.config import Settings
from stockade.control.accounts import Accounts
from stockade.control.clock import system_clock
from stockade.control.idempotency import Idempotency
from stockade.server.database import open_store


class Composition:
    """Everything behind the listener, from `async with` to its end.

    *given_key* is the first account's key, if the operator chose one. *new_key* is one
    that was made at this start: it is known now and never again.
    """

    def __init__(self, settings: Settings, given_key: str | None) -> None:
        self._settings = settings
        self._given_key = given_key
        self._stack = AsyncExitStack()
        self.accounts: Accounts | None = None
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
        enter = self._stack.enter_async_context
        store = await enter(open_store(self._settings))
        accounts = Accounts(store, system_clock, os.urandom)
        self.new_key = await accounts.start(self._given_key)
        self.accounts = accounts
        return create_app(
            Services(accounts=accounts, idempotency=Idempotency(store, system_clock))
        )
