"""Executions in the database: what was started, how it ended, what it wrote last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import undefer

from stockade.control.clock import Clock
from stockade.control.devbox_records import touch_in
from stockade.control.idempotency import Note, no_note
from stockade.control.store.base import Store
from stockade.control.store.executions import ExecutionRow
from stockade.errors import NotFound
from stockade.hosting import ExecutionId, Stream
from stockade.spec import DevboxId

#: So much of the end of each output is kept in the database.
KEPT = 1 << 20
#: The exit status of what was killed.
KILLED = 137


@dataclass(frozen=True, slots=True)
class Record:
    """An execution; *exit_status* is None while it runs."""

    id: ExecutionId
    devbox: DevboxId
    source: str
    command: str
    created_ms: int
    ended_ms: int | None
    exit_status: int | None
    stdout_size: int
    stderr_size: int

    def size(self, stream: Stream) -> int:
        """How many bytes an output has, once the execution has ended."""
        return self.stdout_size if stream is Stream.STDOUT else self.stderr_size


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an execution ended, and the last bytes of what it wrote."""

    exit_status: int
    stdout: bytes = b""
    stderr: bytes = b""
    stdout_size: int = 0
    stderr_size: int = 0


class ExecutionRecords:
    """Reads and changes the records of executions."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def add(self, row: ExecutionRow, note: Note = no_note) -> bool:
        """Keep a new one; False if there is one with its id in the devbox already."""
        async with self._store.begin() as session:
            place = (row.devbox_id, row.id)
            # On PostgreSQL, the lock makes those that come together take turns.
            await touch_in(session, row.devbox_id, self._clock(), locked=True)
            if await session.get(ExecutionRow, place) is not None:
                return False
            session.add(row)
            await note(session, row.id)
        return True

    async def find(self, devbox: str, execution: str) -> Record | None:
        """The execution of that id."""
        async with self._store.read() as session:
            row = await session.get(ExecutionRow, (devbox, execution))
        return None if row is None else record_of(row)

    async def get(self, devbox: str, execution: str) -> Record:
        """As `find`. Raises `NotFound`."""
        found = await self.find(devbox, execution)
        if found is None:
            raise NotFound(f"there is no execution {execution[:64]} in {devbox}")
        return found

    async def kept(self, devbox: str, execution: str, stream: Stream) -> bytes:
        """The last bytes of an output of an execution that has ended."""
        column = getattr(ExecutionRow, stream.value)
        async with self._store.read() as session:
            row = await session.get(
                ExecutionRow, (devbox, execution), options=[undefer(column)]
            )
            found: bytes | None = None if row is None else getattr(row, stream.value)
            return found or b""

    async def running(self, devbox: str, source: str | None = None) -> Sequence[Record]:
        """Those of a devbox that have not ended."""
        query = select(ExecutionRow).filter_by(devbox_id=devbox, ended_ms=None)
        if source is not None:
            query = query.filter_by(source=source)
        async with self._store.read() as session:
            return [record_of(row) for row in await session.scalars(query)]

    async def of(self, devbox: str, limit: int) -> Sequence[Record]:
        """The latest of a devbox, at most *limit*, the oldest of them first."""
        query = select(ExecutionRow).filter_by(devbox_id=devbox)
        query = query.order_by(ExecutionRow.created_ms.desc(), ExecutionRow.id.desc())
        async with self._store.read() as session:
            found = [
                record_of(row) for row in await session.scalars(query.limit(limit))
            ]
        return found[::-1]

    async def end(self, devbox: str, execution: str, outcome: Outcome) -> None:
        """Keep how an execution ended, unless that is known already."""
        async with self._store.begin() as session:
            row = await session.get_one(ExecutionRow, (devbox, execution))
            if row.ended_ms is not None:
                return
            row.ended_ms = max(self._clock(), row.created_ms)
            row.exit_status = outcome.exit_status
            row.stdout, row.stdout_size = outcome.stdout, outcome.stdout_size
            row.stderr, row.stderr_size = outcome.stderr, outcome.stderr_size
            await touch_in(session, devbox, row.ended_ms)


def record_of(row: ExecutionRow) -> Record:
    """The value of a row."""
    return Record(
        id=ExecutionId(row.id),
        devbox=DevboxId(row.devbox_id),
        source=row.source,
        command=row.command,
        created_ms=row.created_ms,
        ended_ms=row.ended_ms,
        exit_status=row.exit_status,
        stdout_size=row.stdout_size,
        stderr_size=row.stderr_size,
    )
