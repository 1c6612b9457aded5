"""The database as the services see it: transactions, on SQLite and on PostgreSQL.

SQLite has one writer at a time. A transaction that may write says so when it begins
(`BEGIN IMMEDIATE`); one that began by reading and then wrote could not wait, but fail.
Those of this process wait in a queue: SQLite would have them look again and again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Any

from sqlalchemy import JSON, BigInteger, String, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase

from stockade.control.store.inline import InlineConnection
from stockade.errors import InvalidRequest

#: An id with its prefix; a time in milliseconds since the epoch. Ids sort by creation, as
#: their bytes do: not as a locale of PostgreSQL would have it.
Id = String(40).with_variant(String(40, collation="C"), "postgresql")
Milliseconds = BigInteger

_DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}
_BUSY_SECONDS = 30


class Base(DeclarativeBase):
    """What all tables have in common."""

    type_annotation_map = {dict[str, Any]: JSON, list[Any]: JSON}  # noqa: RUF012 - SQLAlchemy reads it


class Store:
    """The database behind *url*: `sqlite:///PATH` or `postgresql://…`."""

    def __init__(self, url: str) -> None:
        self.engine = _engine(url)
        self._reading = _reading_engine(self.engine)
        self._turn: AbstractAsyncContextManager[object] = nullcontext()
        if self.engine.dialect.name == "sqlite":
            self._turn = asyncio.Lock()

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncSession]:
        """A transaction that may write: committed at the end, undone by an exception."""
        async with self._turn, self.engine.connect() as plain:
            connection = await plain.execution_options(stockade_writes=True)
            async with (
                connection.begin(),
                AsyncSession(connection, expire_on_commit=False) as session,
            ):
                yield session
                await session.flush()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """A transaction that only reads, and keeps nobody waiting."""
        async with AsyncSession(self._reading, expire_on_commit=False) as session:
            yield session

    async def close(self) -> None:
        """Let go of all connections."""
        await self._reading.dispose()
        await self.engine.dispose()


def _engine(url: str) -> AsyncEngine:
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise InvalidRequest(f"{url!r} is not the URL of a database") from None
    kind = parsed.get_backend_name()
    if kind not in _DRIVERS:
        raise InvalidRequest(f"{kind}: the database has to be sqlite or postgresql")
    parsed = parsed.set(drivername=_DRIVERS[kind])
    if kind == "postgresql":
        return create_async_engine(parsed, pool_pre_ping=True)
    engine = create_async_engine(parsed, connect_args={"timeout": _BUSY_SECONDS})
    event.listen(engine.sync_engine, "connect", _prepare_sqlite)
    event.listen(engine.sync_engine, "begin", _begin_sqlite)
    return engine


def _reading_engine(engine: AsyncEngine) -> AsyncEngine:
    """The engine to read with: for a file of SQLite, one that asks no other thread."""
    path = engine.url.database
    if engine.dialect.name != "sqlite" or path in (None, "", ":memory:"):
        return engine

    async def connect() -> InlineConnection:
        return InlineConnection(str(path))

    reading = create_async_engine(engine.url, async_creator=connect)
    event.listen(reading.sync_engine, "begin", _begin_sqlite)
    return reading


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    # The driver is not to begin transactions by itself: `_begin_sqlite` does.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in (
        "journal_mode=WAL",
        # What was acknowledged is on the disk, also after a power failure.
        "synchronous=FULL",
        "foreign_keys=ON",
        f"busy_timeout={_BUSY_SECONDS * 1000}",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Any) -> None:
    writes = connection.get_execution_options().get("stockade_writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
