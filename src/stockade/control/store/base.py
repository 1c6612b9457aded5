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
from sqlalchemy.engine import URL, make_url
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


class Base(DeclarativeBase):
    """What all tables have in common."""

    type_annotation_map = {dict[str, Any]: JSON, list[Any]: JSON}  # noqa: RUF012 - SQLAlchemy reads it


class Store:
    """The database behind *url*: `sqlite:///PATH` or `postgresql://…`."""

    def __init__(self, url: str) -> None:
        self.engine, self._reading = _engines(url)
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


def _engines(url: str) -> tuple[AsyncEngine, AsyncEngine]:
    """What to write with, and what to read with."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise InvalidRequest(f"{url!r} is not the URL of a database") from None
    kind = parsed.get_backend_name()
    if kind not in _DRIVERS:
        raise InvalidRequest(f"{kind}: the database has to be sqlite or postgresql")
    parsed = parsed.set(drivername=_DRIVERS[kind])
    if kind == "postgresql":
        engine = create_async_engine(parsed, pool_pre_ping=True)
        return engine, engine
    path = str(parsed.database)
    if path in ("None", "", ":memory:"):
        raise InvalidRequest("the database has to be a file: sqlite:///PATH")
    return _sqlite(parsed, path, writes=True), _sqlite(parsed, path, writes=False)


def _sqlite(url: URL, path: str, *, writes: bool) -> AsyncEngine:
    async def connect() -> InlineConnection:
        return InlineConnection(path, writes=writes)

    engine = create_async_engine(url, async_creator=connect)
    event.listen(engine.sync_engine, "begin", _begin_sqlite)
    return engine


def _begin_sqlite(connection: Any) -> None:
    writes = connection.get_execution_options().get("stockade_writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
