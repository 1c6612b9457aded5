"""Models and migrations agree, on each database, and a later database is refused."""

from __future__ import annotations

import asyncio

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text

from stockade.control.store.base import Store
from stockade.control.store.migrating import migrate
from stockade.control.store.tables import METADATA
from stockade.errors import InvalidRequest, Unavailable


def _differences(connection: Connection) -> list:
    options = {"compare_type": True, "target_metadata": METADATA}
    context = MigrationContext.configure(connection, opts=options)
    return compare_metadata(context, METADATA)


def test_models_and_migrations_agree(database_url: str) -> None:
    async def main() -> None:
        store = Store(database_url)
        async with store.engine.begin() as connection:
            # The comparison does find what is missing.
            assert await connection.run_sync(_differences) != []
        await migrate(store)
        await migrate(store)
        async with store.engine.begin() as connection:
            assert await connection.run_sync(_differences) == []
        await store.close()

    asyncio.run(main())


def test_a_database_of_a_later_version_is_refused(database_url: str) -> None:
    async def main() -> None:
        store = Store(database_url)
        await migrate(store)
        async with store.begin() as session:
            await session.execute(text("update alembic_version set version_num = '9'"))
        with pytest.raises(InvalidRequest, match="this version"):
            await migrate(store)
        await store.close()

    asyncio.run(main())


def test_a_database_that_is_away_is_said(tmp_path) -> None:
    async def main() -> None:
        store = Store(f"postgresql://nobody@/none?host={tmp_path}")
        with pytest.raises(Unavailable):
            await migrate(store)
        await store.close()

    asyncio.run(main())
