"""Disk snapshots: saved disks of devboxes, and what starts from them inherits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from stockade.control.changes import Changes
from stockade.control.clock import Clock
from stockade.control.devbox_plans import (
    DevboxRequest,
    Source,
    read_metadata,
    read_name,
)
from stockade.control.devbox_records import Devbox, with_labels
from stockade.control.host import Host
from stockade.control.idempotency import Note, forget_resource, no_note
from stockade.control.ids import Chance, check_id, new_id
from stockade.control.launch_parameters import text
from stockade.control.states import Status
from stockade.control.store.base import Store
from stockade.control.store.pages import Page, PageQuery, read_page
from stockade.control.store.policies import PolicyRow
from stockade.control.store.snapshots import SnapshotRow
from stockade.control.tasks import Tasks
from stockade.errors import Conflict, InvalidRequest, NotFound, StockadeError
from stockade.hosting import SnapshotId

PREFIX = "snp"
MAX_MESSAGE = 1_000
IN_PROGRESS, COMPLETE, ERROR, DELETED = "in_progress", "complete", "error", "deleted"
_WAIT_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A saved disk."""

    id: str
    account: str
    devbox: str
    blueprint_id: str | None
    image: str
    launch: Mapping[str, Any]
    name: str | None
    commit_message: str | None
    metadata: Mapping[str, str]
    status: str
    error: str | None
    size: int | None
    created_ms: int


class Snapshots:
    """Makes, lists and deletes snapshots."""

    def __init__(
        self,
        store: Store,
        host: Host,
        changes: Changes,
        tasks: Tasks,
        clock: Clock,
        chance: Chance,
    ) -> None:
        self._store = store
        self._host = host
        self._changes = changes
        self._tasks = tasks
        self._clock = clock
        self._chance = chance

    async def create(
        self, devbox: Devbox, body: Mapping[str, Any], note: Note = no_note
    ) -> str:
        """Begin to copy the disk of a devbox; the snapshot's id."""
        if devbox.status not in (Status.RUNNING, Status.SUSPENDED):
            raise InvalidRequest(
                f"{devbox.id} is {devbox.status}: it has no disk to copy"
            )
        message = _message(body)
        now = self._clock()
        row = SnapshotRow(
            id=new_id(PREFIX, now, self._chance),
            account_id=devbox.account,
            devbox_id=devbox.id,
            blueprint_id=devbox.blueprint_id,
            image=devbox.image,
            launch=_inherited(devbox.launch),
            name=read_name(body.get("name")),
            commit_message=message,
            labels=read_metadata(body.get("metadata")),
            status=IN_PROGRESS,
            created_ms=now,
        )
        async with self._store.begin() as session:
            session.add(row)
            await note(session, row.id)
        self._tasks.start(self._copy(devbox, row.id), f"snapshot {row.id}")
        return row.id

    async def complete(self, account: str, snapshot: str) -> Snapshot:
        """The snapshot when its disk is copied. Raises `Conflict` if that failed."""

        async def look() -> Snapshot | None:
            found = await self.get(account, snapshot)
            return None if found.status == IN_PROGRESS else found

        found = None
        while found is None:
            found = await self._changes.until(snapshot, _WAIT_SECONDS, look)
        if found.status == ERROR:
            raise Conflict(f"the disk could not be copied: {found.error}")
        return found

    async def get(self, account: str, snapshot: str) -> Snapshot:
        """The snapshot of that id, also a deleted one. Raises `NotFound`."""
        check_id(PREFIX, snapshot)
        async with self._store.read() as session:
            row = await session.get(SnapshotRow, snapshot)
        if row is None or row.account_id != account:
            raise NotFound(f"there is no snapshot {snapshot}")
        return _snapshot(row)

    async def list(
        self,
        account: str,
        page: PageQuery,
        *,
        devbox: str | None = None,
        blueprint: str | None = None,
        metadata: Mapping[str, Sequence[str]] | None = None,
    ) -> Page[Snapshot]:
        """Those of an account that are complete, the newest first."""
        query = select(SnapshotRow).filter_by(account_id=account, status=COMPLETE)
        if devbox is not None:
            query = query.filter_by(devbox_id=devbox)
        if blueprint is not None:
            query = query.filter_by(blueprint_id=blueprint)
        query = with_labels(query, SnapshotRow.labels, metadata or {})
        async with self._store.read() as session:
            found = await read_page(session, query, SnapshotRow.id, PREFIX, page)
        return Page(tuple(map(_snapshot, found.items)), found.has_more, found.total)

    async def update(
        self, account: str, snapshot: str, body: Mapping[str, Any]
    ) -> Snapshot:
        """Change what is given; metadata is replaced as a whole."""
        await self._alive(account, snapshot)
        async with self._store.begin() as session:
            row = await session.get_one(SnapshotRow, snapshot)
            if body.get("name") is not None:
                row.name = read_name(body["name"])
            if body.get("commit_message") is not None:
                row.commit_message = _message(body)
            if body.get("metadata") is not None:
                row.labels = read_metadata(body["metadata"])
        return _snapshot(row)

    async def delete(self, account: str, snapshot: str) -> None:
        """Delete a snapshot that is complete, or deleted already."""
        found = await self.get(account, snapshot)
        if found.status == DELETED:
            return
        if found.status == IN_PROGRESS:
            raise Conflict(f"{snapshot} is in progress; delete it when it is complete")
        await self._put(snapshot, DELETED, forget=True)
        await self._host.delete_snapshot(SnapshotId(snapshot))

    async def copying(self, devbox: str) -> bool:
        """Whether a snapshot of the devbox is being made."""
        query = select(SnapshotRow.id).filter_by(devbox_id=devbox, status=IN_PROGRESS)
        async with self._store.read() as session:
            return (await session.scalars(query)).first() is not None

    async def source(self, account: str, request: DevboxRequest) -> Source:
        """What a devbox from the snapshot of *request* begins with.

        It is under the policy that the snapshot's devbox was under. If that is gone the
        request has to name one: restoring never widens.
        """
        snapshot = request.snapshot_id or ""
        try:
            found = await self.get(account, snapshot)
        except NotFound as error:
            raise InvalidRequest(f"snapshot_id: {error}") from None
        if found.status != COMPLETE:
            raise InvalidRequest(f"snapshot_id: {snapshot} is {found.status}")
        policy = found.launch.get("network_policy_id")
        if policy is not None and "network_policy_id" not in request.launch:
            async with self._store.read() as session:
                if await session.get(PolicyRow, policy) is None:
                    raise InvalidRequest(
                        f"the network policy {policy} that {snapshot} inherits is "
                        "deleted; name one in launch_parameters.network_policy_id"
                    )
        return Source(found.image, found.blueprint_id, found.id, found.launch)

    async def recover(self) -> None:
        """Make the records and the host agree again, before anything is asked."""
        query = select(SnapshotRow)
        async with self._store.read() as session:
            rows = {row.id: row for row in await session.scalars(query)}
        for row in rows.values():
            if row.status == IN_PROGRESS:
                await self._put(row.id, ERROR, error="the server was ended meanwhile")
        for kept in await self._host.snapshots():
            if kept not in rows or rows[kept].status != COMPLETE:
                await self._host.delete_snapshot(kept)

    async def _alive(self, account: str, snapshot: str) -> None:
        if (await self.get(account, snapshot)).status == DELETED:
            raise NotFound(f"the snapshot {snapshot} is deleted")

    async def _copy(self, devbox: Devbox, snapshot: str) -> None:
        try:
            size = await self._host.snapshot(devbox.id, SnapshotId(snapshot))
        except StockadeError as error:
            await self._put(snapshot, ERROR, error=str(error))
        else:
            await self._put(snapshot, COMPLETE, size=size)

    async def _put(
        self,
        snapshot: str,
        status: str,
        *,
        size: int | None = None,
        error: str | None = None,
        forget: bool = False,
    ) -> None:
        async with self._store.begin() as session:
            row = await session.get_one(SnapshotRow, snapshot)
            row.status, row.error = status, error
            row.size = size if size is not None else row.size
            if forget:
                await forget_resource(session, snapshot)
        self._changes.tell(snapshot)


def _inherited(launch: Mapping[str, Any]) -> dict[str, Any]:
    """The launch parameters that belong to the disk, and the policy."""
    names = ("user_parameters", "network_policy_id", "architecture")
    return {name: launch[name] for name in names if name in launch}


def _message(body: Mapping[str, Any]) -> str | None:
    if body.get("commit_message") is None:
        return None
    message = text(body["commit_message"], "commit_message")
    if len(message) > MAX_MESSAGE:
        raise InvalidRequest(f"commit_message: at most {MAX_MESSAGE} characters")
    return message or None


def _snapshot(row: SnapshotRow) -> Snapshot:
    return Snapshot(
        id=row.id,
        account=row.account_id,
        devbox=row.devbox_id,
        blueprint_id=row.blueprint_id,
        image=row.image,
        launch=row.launch,
        name=row.name,
        commit_message=row.commit_message,
        metadata=row.labels,
        status=row.status,
        error=row.error,
        size=row.size,
        created_ms=row.created_ms,
    )
