"""The server's database: where it is, and the present shape of its tables."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from sqlalchemy.engine import URL

from stockade.config import Settings
from stockade.control.store.base import Store
from stockade.control.store.migrating import migrate

_FILE: Final = "stockade.db"


@asynccontextmanager
async def open_store(settings: Settings) -> AsyncIterator[Store]:
    """The database of *settings*, with its tables."""
    if not settings.database:
        # What SQLite puts beside it has the same permissions.
        file = settings.data_dir / _FILE
        os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    store = Store(database_url(settings))
    try:
        await migrate(store)
        yield store
    finally:
        await store.close()


def database_url(settings: Settings) -> str:
    """The URL of the database: SQLite in the data directory if none is set."""
    if settings.database:
        return settings.database
    path = str(settings.data_dir / _FILE)
    return URL.create("sqlite", database=path).render_as_string()
