"""Keys: what is remembered of them, and when that ends."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from stockade.control.accounts import Accounts
from stockade.control.clock import system_clock
from stockade.control.store.base import Store
from stockade.control.store.migrating import migrate
from stockade.errors import Unauthenticated


def test_a_key_that_is_revoked_while_it_is_looked_up_is_not_remembered(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        store = Store(database_url)
        await migrate(store)
        accounts = Accounts(store, system_clock, os.urandom)
        await accounts.start("ak_0123456789abcdef0123")
        account = (await accounts.accounts())[0].id
        key = await accounts.create_key(account, name=None, expires_at_ms=None)
        assert key.secret is not None
        found, revoked = asyncio.Event(), asyncio.Event()
        read = store.read

        @asynccontextmanager
        async def held() -> AsyncIterator[AsyncSession]:
            async with read() as session:
                yield session
            found.set()
            await revoked.wait()

        with monkeypatch.context() as patch:
            patch.setattr(store, "read", held)
            looking = asyncio.create_task(accounts.authenticate(key.secret))
            await found.wait()
        await accounts.revoke_key(account, key.id)
        revoked.set()
        # It was valid when this one came.
        assert (await looking).account == account
        with pytest.raises(Unauthenticated):
            await accounts.authenticate(key.secret)
        await store.close()

    asyncio.run(main())
