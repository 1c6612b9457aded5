"""SQLite connections that are used in the event loop's own thread.

A statement takes SQLite some 20 µs. Handing it to another thread and waiting for the
answer, as `aiosqlite` does, takes fifty times that (measured: 1.2 ms of CPU a request,
0.3 ms this way). Readers never wait for a writer in WAL mode, and writers of this process
take turns before they come here, so nothing blocks. What waits for the disk, the commit
of what was written, is left to another thread.

The interface is the part of `aiosqlite` that SQLAlchemy uses.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

# Only for another process, which has no business in this database, is waited at all.
_BUSY_SECONDS = 1.0
_WRITING = (
    "journal_mode=WAL",
    # What was acknowledged is on the disk, also after a power failure.
    "synchronous=FULL",
    "foreign_keys=ON",
)


class InlineCursor:
    """A cursor that has done what it is asked when it is awaited."""

    def __init__(self, cursor: sqlite3.Cursor) -> None:
        self._cursor = cursor
        self.arraysize = cursor.arraysize

    async def __aenter__(self) -> Self:
        """Nothing is to be waited for."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        self._cursor.close()

    @property
    def description(self) -> Any:
        """The columns of the result."""
        return self._cursor.description

    @property
    def rowcount(self) -> int:
        """How many rows were changed."""
        return self._cursor.rowcount

    @property
    def lastrowid(self) -> int | None:
        """The row that was added last."""
        return self._cursor.lastrowid

    async def execute(self, sql: str, parameters: Sequence[Any] = ()) -> Self:
        """Carry out a statement."""
        self._cursor.execute(sql, parameters)
        return self

    async def executemany(self, sql: str, many: Sequence[Sequence[Any]]) -> Self:
        """Carry out a statement for each set of parameters."""
        self._cursor.executemany(sql, many)
        return self

    async def fetchall(self) -> list[Any]:
        """All rows of the result."""
        return self._cursor.fetchall()

    async def fetchone(self) -> Any:
        """The next row of the result."""
        return self._cursor.fetchone()

    async def fetchmany(self, size: int | None = None) -> list[Any]:
        """The next rows of the result."""
        return self._cursor.fetchmany(size or self.arraysize)

    async def close(self) -> None:
        """Forget the result."""
        self._cursor.close()


class InlineConnection:
    """A connection that has done what it is asked when it is awaited.

    Unless it *writes* it cannot change anything.
    """

    def __init__(self, path: str, *, writes: bool = False) -> None:
        # The driver is not to begin transactions by itself: `store.base` does.
        self._connection: sqlite3.Connection | None = sqlite3.connect(
            path,
            timeout=_BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=not writes,
        )
        for pragma in _WRITING if writes else ("query_only=ON",):
            self._connection.execute(f"PRAGMA {pragma}")
        self._writes = writes

    def cursor(self) -> InlineCursor:
        """A cursor."""
        return InlineCursor(self._open().cursor())

    async def create_function(
        self, name: str, arity: int, function: Callable[..., Any], **options: Any
    ) -> None:
        """Define a function for statements."""
        self._open().create_function(name, arity, function, **options)

    async def commit(self) -> None:
        """End the transaction; what was written is on the disk then."""
        if self._writes:
            await asyncio.to_thread(self._open().commit)
        else:
            self._open().commit()

    async def rollback(self) -> None:
        """End the transaction."""
        self._open().rollback()

    async def close(self) -> None:
        """Close it; it may be closed already."""
        self.stop()

    def stop(self) -> None:
        """Close it; it may be closed already."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            raise sqlite3.OperationalError("connection closed")
        return self._connection
