"""Devboxes in the database: the one place where their status changes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncSession

from stockade.control.attachments import attach, detach, set_running
from stockade.control.changes import Changes
from stockade.control.clock import Clock
from stockade.control.ids import check_id
from stockade.control.launch_parameters import DEFAULT_KEEP_ALIVE, idle_rule
from stockade.control.states import (
    TERMINAL,
    FailureReason,
    ShutdownReason,
    Status,
    may_follow,
)
from stockade.control.store.base import Store
from stockade.control.store.devboxes import DevboxLogRow, DevboxRow
from stockade.control.store.pages import Page, PageQuery, read_page
from stockade.errors import InvalidRequest, NotFound
from stockade.spec import DevboxId

PREFIX = "dbx"


@dataclass(frozen=True, slots=True)
class Transition:
    """When a devbox came to a status."""

    status: Status
    at_ms: int
    failure: str | None = None


@dataclass(frozen=True, slots=True)
class Devbox:
    """A devbox as the control plane knows it."""

    id: DevboxId
    account: str
    name: str | None
    status: Status
    image: str
    blueprint_id: str | None
    snapshot_id: str | None
    launch: Mapping[str, Any]
    environment: Mapping[str, str]
    secrets: Mapping[str, str]
    metadata: Mapping[str, str]
    entrypoint: str | None
    transitions: tuple[Transition, ...]
    boots: int
    created_ms: int
    ended_ms: int | None
    failure_reason: str | None
    shutdown_reason: str | None

    @property
    def policy_id(self) -> str | None:
        """The policy it is under."""
        found: str | None = self.launch.get("network_policy_id")
        return found

    def require_running(self) -> None:
        """Raise `InvalidRequest` unless it runs."""
        if self.status is not Status.RUNNING:
            raise InvalidRequest(f"{self.id} is {self.status}, not running").coded(
                "devbox_not_running", status=self.status.value
            )


class DevboxRecords:
    """Reads and changes the records of devboxes."""

    def __init__(self, store: Store, clock: Clock, changes: Changes) -> None:
        self._store = store
        self._clock = clock
        self._changes = changes

    async def get(self, account: str, devbox: str) -> Devbox:
        """The devbox of that id. Raises `InvalidRequest` for no id, or `NotFound`."""
        check_id(PREFIX, devbox)
        found = await self.find(devbox)
        if found is None or found.account != account:
            raise NotFound(f"there is no devbox {devbox}")
        return found

    async def find(self, devbox: str) -> Devbox | None:
        """The devbox of that id, whoever's it is."""
        async with self._store.read() as session:
            row = await session.get(DevboxRow, devbox)
        return None if row is None else devbox_of(row)

    async def list(
        self,
        account: str,
        page: PageQuery,
        status: Status | None = None,
        metadata: Mapping[str, Sequence[str]] | None = None,
    ) -> Page[Devbox]:
        """Those of an account, the newest first."""
        query = select(DevboxRow).filter_by(account_id=account)
        if status is not None:
            query = query.filter_by(status=status.value)
        query = with_labels(query, DevboxRow.labels, metadata or {})
        async with self._store.read() as session:
            found = await read_page(session, query, DevboxRow.id, PREFIX, page)
        return Page(tuple(map(devbox_of, found.items)), found.has_more, found.total)

    async def within(self, statuses: Collection[Status]) -> Sequence[Devbox]:
        """All that have one of these statuses."""
        query = select(DevboxRow).where(DevboxRow.status.in_(sorted(statuses)))
        async with self._store.read() as session:
            return [devbox_of(row) for row in await session.scalars(query)]

    async def due(self) -> Sequence[Devbox]:
        """All that run and whose time is over."""
        query = select(DevboxRow).where(
            DevboxRow.status == Status.RUNNING.value,
            DevboxRow.deadline_ms <= self._clock(),
        )
        async with self._store.read() as session:
            return [devbox_of(row) for row in await session.scalars(query)]

    async def insert(self, session: AsyncSession, row: DevboxRow) -> None:
        """Add a new one, under its policy, in the transaction of whoever makes it."""
        row.transitions = [[row.status, row.created_ms, None]]
        row.boots = 0
        session.add(row)
        await session.flush()
        policy = row.launch.get("network_policy_id")
        if policy is not None:
            devbox = DevboxId(row.id)
            await attach(session, row.account_id, devbox, policy)
            await set_running(session, devbox, running=True)

    async def rename(
        self,
        account: str,
        devbox: str,
        changed: Mapping[str, object],
    ) -> Devbox:
        """Change `name` and `metadata`, where they are given."""
        await self.get(account, devbox)
        async with self._store.begin() as session:
            row = await session.get_one(DevboxRow, devbox)
            if "name" in changed:
                row.name = changed["name"]  # type: ignore[assignment]
            if "metadata" in changed:
                row.labels = changed["metadata"]  # type: ignore[assignment]
        return devbox_of(row)

    async def move(
        self,
        devbox: str,
        after: Status,
        *,
        failure: FailureReason | None = None,
        shutdown: ShutdownReason | None = None,
        message: str | None = None,
    ) -> Devbox | None:
        """Give a devbox its next status; None if it cannot have it any more."""
        async with self._store.begin() as session:
            row = await session.get_one(DevboxRow, devbox, with_for_update=True)
            if not may_follow(Status(row.status), after):
                return None
            now = max(self._clock(), row.transitions[-1][1])
            row.status = after.value
            row.transitions = [*row.transitions, [after.value, now, failure]]
            row.deadline_ms = None
            if after is Status.RUNNING:
                row.deadline_ms = now + _lifetime_ms(row.launch)
            if after is Status.PROVISIONING:
                row.boots += 1
                await set_running(session, DevboxId(devbox), running=True)
            if after is Status.SUSPENDED:
                await set_running(session, DevboxId(devbox), running=False)
            if after in TERMINAL:
                # From here on it keeps no policy from being deleted.
                await detach(session, DevboxId(devbox))
                row.ended_ms = now
                row.failure_reason, row.shutdown_reason = failure, shutdown
            if message is not None:
                session.add(_log_row(devbox, "error", now, message))
        self._changes.tell(devbox)
        return devbox_of(row)

    async def touch(self, devbox: str) -> None:
        """Put off the idle action of a devbox that is in use."""
        async with self._store.begin() as session:
            await touch_in(session, devbox, self._clock())

    async def note(self, devbox: str, level: str, message: str) -> None:
        """Keep a line about a devbox in its logs."""
        async with self._store.begin() as session:
            session.add(_log_row(devbox, level, self._clock(), message))

    async def notes(self, devbox: str) -> Sequence[DevboxLogRow]:
        """The lines kept about a devbox, the oldest first."""
        query = select(DevboxLogRow).filter_by(devbox_id=devbox)
        async with self._store.read() as session:
            return list(await session.scalars(query.order_by(DevboxLogRow.id)))


async def touch_in(
    session: AsyncSession, devbox: str, now: int, *, locked: bool = False
) -> None:
    """As `DevboxRecords.touch`, in a transaction that is under way."""
    row = await session.get_one(DevboxRow, devbox, with_for_update=locked)
    if row.status == Status.RUNNING and idle_rule(row.launch) is not None:
        row.deadline_ms = now + _lifetime_ms(row.launch)


def with_labels(
    query: Select[Any], column: Any, metadata: Mapping[str, Sequence[str]]
) -> Select[Any]:
    """*query*, for rows that have one of the given values under each key."""
    for key, values in metadata.items():
        query = query.where(column[key].as_string().in_(values))
    return query


def devbox_of(row: DevboxRow) -> Devbox:
    """The value of a row."""
    return Devbox(
        id=DevboxId(row.id),
        account=row.account_id,
        name=row.name,
        status=Status(row.status),
        image=row.image,
        blueprint_id=row.blueprint_id,
        snapshot_id=row.snapshot_id,
        launch=row.launch,
        environment=row.environment,
        secrets=row.secrets,
        metadata=row.labels,
        entrypoint=row.entrypoint,
        transitions=tuple(
            Transition(Status(status), at_ms, failure)
            for status, at_ms, failure in row.transitions
        ),
        boots=row.boots,
        created_ms=row.created_ms,
        ended_ms=row.ended_ms,
        failure_reason=row.failure_reason,
        shutdown_reason=row.shutdown_reason,
    )


def _lifetime_ms(launch: Mapping[str, Any]) -> int:
    rule = idle_rule(launch)
    if rule is not None:
        return int(rule["idle_time_seconds"]) * 1000
    return int(launch.get("keep_alive_time_seconds", DEFAULT_KEEP_ALIVE)) * 1000


def _log_row(devbox: str, level: str, now: int, message: str) -> DevboxLogRow:
    return DevboxLogRow(
        devbox_id=devbox,
        level=level,
        source="setup_commands",
        at_ms=now,
        message=message,
    )
