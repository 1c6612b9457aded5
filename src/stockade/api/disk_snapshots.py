"""Disk snapshots: `/v1/devboxes/disk_snapshots`, and making them."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Query
from pydantic import BaseModel
from starlette.requests import Request

from stockade.api.auth import needs
from stockade.api.devboxes import EmptyView, RawBody
from stockade.api.filters import metadata_filters
from stockade.api.idempotency import Once
from stockade.api.paging import PageView, Paging, page_fields
from stockade.api.routing import router
from stockade.api.services import TheServices
from stockade.control.callers import Access, Caller, Resource
from stockade.control.snapshots import DELETED, Snapshot

routes = router("disk snapshots")

Reader = Annotated[Caller, needs(Resource.SNAPSHOTS, Access.READ)]
Writer = Annotated[Caller, needs(Resource.SNAPSHOTS, Access.WRITE)]
Filter = Annotated[str | None, Query(max_length=300)]


class SnapshotView(BaseModel):
    """A saved disk."""

    id: str
    create_time_ms: int
    metadata: dict[str, str]
    source_devbox_id: str
    name: str | None
    commit_message: str | None
    size_bytes: int | None
    source_blueprint_id: str | None


class SnapshotListView(PageView):
    """Snapshots, newest first."""

    snapshots: list[SnapshotView]


class SnapshotStatusView(BaseModel):
    """How far a snapshot is."""

    status: Literal["in_progress", "complete", "error", "deleted"]
    error_message: str | None
    snapshot: SnapshotView | None


@routes.post("/v1/devboxes/{devbox_id}/snapshot_disk")
async def snapshot_disk(
    devbox_id: str,
    caller: Writer,
    services: TheServices,
    once: Once,
    body: RawBody = None,
) -> SnapshotView:
    """Save the disk of a devbox."""
    plane = services.plane
    devbox = await plane.devboxes.get(caller.account, devbox_id)
    snapshot = await once(lambda note: plane.snapshots.create(devbox, body or {}, note))
    return _view(await plane.snapshots.complete(caller.account, snapshot))


@routes.post("/v1/devboxes/{devbox_id}/snapshot_disk_async")
async def snapshot_disk_async(
    devbox_id: str,
    caller: Writer,
    services: TheServices,
    once: Once,
    body: RawBody = None,
) -> SnapshotView:
    """Begin to save the disk of a devbox."""
    plane = services.plane
    devbox = await plane.devboxes.get(caller.account, devbox_id)
    snapshot = await once(lambda note: plane.snapshots.create(devbox, body or {}, note))
    return _view(await plane.snapshots.get(caller.account, snapshot))


@routes.get("/v1/devboxes/disk_snapshots")
async def list_snapshots(
    request: Request,
    caller: Reader,
    services: TheServices,
    paging: Paging,
    devbox_id: Filter = None,
    source_blueprint_id: Filter = None,
) -> SnapshotListView:
    """List snapshots: of this devbox, with `metadata[KEY]` having this value."""
    page = await services.plane.snapshots.list(
        caller.account,
        paging,
        devbox=devbox_id,
        blueprint=source_blueprint_id,
        metadata=metadata_filters(request.query_params),
    )
    return SnapshotListView(
        snapshots=[_view(item) for item in page.items], **page_fields(page)
    )


@routes.get("/v1/devboxes/disk_snapshots/{snapshot_id}/status")
async def get_snapshot_status(
    snapshot_id: str, caller: Reader, services: TheServices
) -> SnapshotStatusView:
    """How far a snapshot is; also of one that is deleted."""
    found = await services.plane.snapshots.get(caller.account, snapshot_id)
    return SnapshotStatusView.model_validate(
        {
            "status": found.status,
            "error_message": found.error,
            "snapshot": None if found.status == DELETED else _view(found),
        }
    )


@routes.post("/v1/devboxes/disk_snapshots/{snapshot_id}")
async def update_snapshot(
    snapshot_id: str, caller: Writer, services: TheServices, body: RawBody = None
) -> SnapshotView:
    """Change the name, the message or the metadata of a snapshot."""
    snapshots = services.plane.snapshots
    return _view(await snapshots.update(caller.account, snapshot_id, body or {}))


@routes.post("/v1/devboxes/disk_snapshots/{snapshot_id}/delete")
async def delete_snapshot(
    snapshot_id: str, caller: Writer, services: TheServices
) -> EmptyView:
    """Delete a snapshot. Devboxes that were started from it go on."""
    await services.plane.snapshots.delete(caller.account, snapshot_id)
    return EmptyView()


def _view(snapshot: Snapshot) -> SnapshotView:
    return SnapshotView(
        id=snapshot.id,
        create_time_ms=snapshot.created_ms,
        metadata=dict(snapshot.metadata),
        source_devbox_id=snapshot.devbox,
        name=snapshot.name,
        commit_message=snapshot.commit_message,
        size_bytes=snapshot.size,
        source_blueprint_id=snapshot.blueprint_id,
    )
