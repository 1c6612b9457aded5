"""Storage objects: made, uploaded by a signed URL, completed, read, deleted.

A signature is over what may be done, with which object, until when. Whoever has the URL
may do that and nothing else; no key is sent to it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Final, Self

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from stockade.control.blobs import Blobs
from stockade.control.clock import Clock
from stockade.control.idempotency import Note, forget_resource, no_note
from stockade.control.ids import Chance, check_id, new_id
from stockade.control.object_values import (
    Deed,
    ObjectFilter,
    ObjectRequest,
    ObjectState,
    Permit,
    StoredObject,
)
from stockade.control.sealing import Sealer
from stockade.control.store.base import Store
from stockade.control.store.objects import ObjectRow
from stockade.control.store.pages import Page, PageQuery, contains, read_page
from stockade.errors import (
    Conflict,
    InvalidRequest,
    NotFound,
    Unauthenticated,
)

PREFIX: Final = "obj"
UPLOAD_MS: Final = 3600 * 1000
_SWEEP_SECONDS: Final = 30.0

_log = logging.getLogger(__name__)


class Objects:
    """Storage objects. In its `async with` block, those whose time is over go."""

    def __init__(
        self, store: Store, blobs: Blobs, sealer: Sealer, clock: Clock, chance: Chance
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._sealer = sealer
        self._clock = clock
        self._chance = chance
        self._tasks = asyncio.TaskGroup()
        self._sweeping: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Start deleting what is to be deleted."""
        self._blobs.start()
        await self._tasks.__aenter__()
        self._sweeping = self._tasks.create_task(self._sweep_on())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End that."""
        if self._sweeping is not None:
            self._sweeping.cancel()
        await self._tasks.__aexit__(None, None, None)

    async def create(
        self, account: str, request: ObjectRequest, note: Note = no_note
    ) -> str:
        """Make an object that waits for its content; its id."""
        now = self._clock()
        row = ObjectRow(
            id=new_id(PREFIX, now, self._chance),
            account_id=account,
            name=request.name,
            content_type=request.content_type,
            state=ObjectState.UPLOADING,
            labels=dict(request.labels),
            size_bytes=None,
            create_time_ms=now,
            delete_after_ms=None if request.ttl_ms is None else now + request.ttl_ms,
        )
        async with self._store.begin() as session:
            session.add(row)
            await session.flush()
            await note(session, row.id)
        return row.id

    async def get(self, account: str, object_id: str) -> StoredObject:
        """The object of this id; one that was deleted says so."""
        async with self._store.read() as session:
            return self._stored(await _row(session, object_id, account))

    async def list(
        self, account: str, page: PageQuery, wanted: ObjectFilter
    ) -> Page[StoredObject]:
        """Objects, newest first."""
        query = select(ObjectRow).where(ObjectRow.account_id == account)
        if wanted.state is not None:
            query = query.where(ObjectRow.state == wanted.state)
        else:
            query = query.where(ObjectRow.state != ObjectState.DELETED)
        if wanted.content_type is not None:
            query = query.where(ObjectRow.content_type == wanted.content_type)
        if wanted.name is not None:
            query = query.where(contains(ObjectRow.name, wanted.name))
        if wanted.search is not None:
            part = wanted.search
            query = query.where(
                or_(contains(ObjectRow.id, part), contains(ObjectRow.name, part))
            )
        async with self._store.read() as session:
            found = await read_page(session, query, ObjectRow.id, PREFIX, page)
        return Page(tuple(map(self._stored, found.items)), found.has_more, found.total)

    async def complete(self, account: str, object_id: str) -> StoredObject:
        """Make an object readable, with what was uploaded. No content is empty content."""
        async with self._store.begin() as session:
            row = await _row(session, object_id, account)
            self._check_uploading(row)
            row.size_bytes = self._blobs.size(row.id)
            row.state = ObjectState.READ_ONLY
            return self._stored(row)

    async def delete(self, account: str, object_id: str) -> StoredObject:
        """Delete an object and its content."""
        async with self._store.begin() as session:
            row = await _row(session, object_id, account)
            row.state = ObjectState.DELETED
            await forget_resource(session, row.id)
            deleted = self._stored(row)
        self._blobs.delete(object_id)
        return deleted

    async def permit_download(
        self, account: str, object_id: str, duration_ms: int
    ) -> Permit:
        """A permit to download an object that is complete."""
        found = await self.get(account, object_id)
        _check_readable(found)
        return self.permit(Deed.DOWNLOAD, object_id, duration_ms)

    def permit(self, deed: Deed, object_id: str, duration_ms: int) -> Permit:
        """A permit for so long from now."""
        expires = self._clock() + duration_ms
        return Permit(expires, self._sealer.sign(f"{deed} {object_id} {expires}"))

    async def upload(
        self, object_id: str, permit: Permit, content: AsyncIterator[bytes]
    ) -> None:
        """Keep *content* for an object that waits for it."""
        self._check(Deed.UPLOAD, object_id, permit)
        async with self._store.read() as session:
            self._check_uploading(await _row(session, object_id))
        await self._blobs.write(object_id, content)

    async def download(self, object_id: str, permit: Permit) -> AsyncIterator[bytes]:
        """The content of an object."""
        self._check(Deed.DOWNLOAD, object_id, permit)
        async with self._store.read() as session:
            _check_readable(self._stored(await _row(session, object_id)))
        return self._blobs.read(object_id)

    async def content(self, account: str, object_id: str) -> AsyncIterator[bytes]:
        """The content of an object of the account that is complete."""
        _check_readable(await self.get(account, object_id))
        return self._blobs.read(object_id)

    async def sweep(self) -> None:
        """Delete the objects whose time is over."""
        async with self._store.begin() as session:
            query = select(ObjectRow).where(
                ObjectRow.delete_after_ms <= self._clock(),
                ObjectRow.state != ObjectState.DELETED,
            )
            rows = (await session.execute(query)).scalars().all()
            for row in rows:
                row.state = ObjectState.DELETED
                await forget_resource(session, row.id)
        for row in rows:
            self._blobs.delete(row.id)

    async def _sweep_on(self) -> None:
        while True:
            try:
                await self.sweep()
            except Exception:  # noqa: BLE001 - whatever it is, it is tried again
                _log.exception("sweeping objects")
            await asyncio.sleep(_SWEEP_SECONDS)

    def _check(self, deed: Deed, object_id: str, permit: Permit) -> None:
        check_id(PREFIX, object_id)
        text = f"{deed} {object_id} {permit.expires_ms}"
        if not self._sealer.is_signed(text, permit.signature):
            raise Unauthenticated("the URL is not signed for this")
        if permit.expires_ms <= self._clock():
            raise Unauthenticated("the URL has expired").coded("url_expired")

    def _check_uploading(self, row: ObjectRow) -> None:
        if self._stored(row).state is not ObjectState.UPLOADING:
            raise Conflict(f"the object {row.id} is {row.state}, not UPLOADING")

    def _stored(self, row: ObjectRow) -> StoredObject:
        state = ObjectState(row.state)
        if row.delete_after_ms is not None and row.delete_after_ms <= self._clock():
            state = ObjectState.DELETED
        return StoredObject(
            id=row.id,
            name=row.name,
            content_type=row.content_type,
            state=state,
            labels=row.labels,
            size_bytes=row.size_bytes,
            create_time_ms=row.create_time_ms,
            delete_after_ms=row.delete_after_ms,
        )


async def _row(
    session: AsyncSession, object_id: str, account: str | None = None
) -> ObjectRow:
    """The row of an object; *account* None: the caller has a permit for it."""
    check_id(PREFIX, object_id)
    row = await session.get(ObjectRow, object_id)
    if row is None or account not in (None, row.account_id):
        raise NotFound(f"there is no object {object_id}")
    return row


def _check_readable(found: StoredObject) -> None:
    if found.state is not ObjectState.READ_ONLY:
        raise InvalidRequest(f"the object {found.id} is {found.state}, not READ_ONLY")
