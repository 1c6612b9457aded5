"""Storage objects: `/v1/objects`, and the signed URLs of their contents."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlencode

from fastapi import Query
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from stockade.api.auth import needs
from stockade.api.idempotency import Once
from stockade.api.paging import PageView, Paging, page_fields
from stockade.api.routing import router
from stockade.api.services import TheServices
from stockade.control.callers import Access, Caller, Resource
from stockade.control.object_values import (
    Deed,
    ObjectFilter,
    ObjectRequest,
    ObjectState,
    Permit,
    StoredObject,
)
from stockade.control.objects import UPLOAD_MS

routes = router("objects")

Reader = Annotated[Caller, needs(Resource.OBJECTS, Access.READ)]
Writer = Annotated[Caller, needs(Resource.OBJECTS, Access.WRITE)]
Filter = Annotated[str | None, Query(max_length=1024)]
ContentType = Literal["unspecified", "text", "binary", "gzip", "tar", "tgz"]
Label = Annotated[str, Field(max_length=4096)]

_YEAR_MS = 366 * 24 * 3600 * 1000
_WEEK_SECONDS = 7 * 24 * 3600


class ObjectParams(BaseModel):
    """An object to make; it is deleted after *ttl_ms*."""

    name: Annotated[str, Field(min_length=1, max_length=1024)]
    content_type: ContentType
    metadata: Annotated[dict[Label, Label] | None, Field(max_length=256)] = None
    ttl_ms: Annotated[int | None, Field(ge=1, le=100 * _YEAR_MS)] = None


class ObjectView(BaseModel):
    """An object. *upload_url* is there as long as it waits for its content."""

    id: str
    name: str
    content_type: ContentType
    state: ObjectState
    create_time_ms: int
    size_bytes: int | None
    metadata: dict[str, str]
    delete_after_time_ms: int | None
    upload_url: str | None = None


class ObjectListView(PageView):
    """Objects, newest first."""

    objects: list[ObjectView]


class DownloadView(BaseModel):
    """Where an object can be downloaded from, without a key, for some time."""

    download_url: str


@routes.post("/v1/objects")
async def create_object(
    request: Request,
    params: ObjectParams,
    caller: Writer,
    services: TheServices,
    once: Once,
) -> ObjectView:
    """Make an object. Its content is then PUT to its *upload_url*."""
    wanted = ObjectRequest(
        params.name, params.content_type, params.metadata or {}, params.ttl_ms
    )
    object_id = await once(
        lambda note: services.objects.create(caller.account, wanted, note)
    )
    view = _view(await services.objects.get(caller.account, object_id))
    if view.state is ObjectState.UPLOADING:
        permit = services.objects.permit(Deed.UPLOAD, object_id, UPLOAD_MS)
        view.upload_url = _url(request, object_id, permit)
    return view


@routes.get("/v1/objects")
async def list_objects(
    caller: Reader,
    services: TheServices,
    paging: Paging,
    name: Filter = None,
    search: Filter = None,
    state: ObjectState | None = None,
    content_type: ContentType | None = None,
) -> ObjectListView:
    """List objects; those that are deleted only when asked for."""
    wanted = ObjectFilter(name, search, state, content_type)
    page = await services.objects.list(caller.account, paging, wanted)
    return ObjectListView(
        objects=[_view(item) for item in page.items], **page_fields(page)
    )


@routes.get("/v1/objects/list_public")
async def list_public_objects(_caller: Reader, _paging: Paging) -> ObjectListView:
    """Public objects: this server has none."""
    return ObjectListView(objects=[], has_more=False, total_count=0)


@routes.get("/v1/objects/{object_id}")
async def get_object(
    object_id: str, caller: Reader, services: TheServices
) -> ObjectView:
    """An object."""
    return _view(await services.objects.get(caller.account, object_id))


@routes.post("/v1/objects/{object_id}/complete")
async def complete_object(
    object_id: str, caller: Writer, services: TheServices
) -> ObjectView:
    """Make an object readable with what was uploaded."""
    return _view(await services.objects.complete(caller.account, object_id))


@routes.post("/v1/objects/{object_id}/delete")
async def delete_object(
    object_id: str, caller: Writer, services: TheServices
) -> ObjectView:
    """Delete an object and its content."""
    return _view(await services.objects.delete(caller.account, object_id))


@routes.get("/v1/objects/{object_id}/download")
async def download_object(
    request: Request,
    object_id: str,
    caller: Reader,
    services: TheServices,
    duration_seconds: Annotated[int, Query(ge=1, le=_WEEK_SECONDS)] = 3600,
) -> DownloadView:
    """A URL to download an object from."""
    permit = await services.objects.permit_download(
        caller.account, object_id, duration_seconds * 1000
    )
    return DownloadView(download_url=_url(request, object_id, permit))


@routes.put("/v1/stockade/objects/{object_id}/content", openapi_extra={"security": []})
async def put_content(
    request: Request,
    object_id: str,
    services: TheServices,
    expires: Annotated[int, Query(ge=0, le=2**53)],
    signature: Annotated[str, Query(max_length=200)],
) -> dict[str, str]:
    """Upload a content. The URL carries its own permit."""
    permit = Permit(expires, signature)
    await services.objects.upload(object_id, permit, request.stream())
    return {}


@routes.get(
    "/v1/stockade/objects/{object_id}/content",
    openapi_extra={"security": []},
    response_class=Response,
)
async def get_content(
    object_id: str,
    services: TheServices,
    expires: Annotated[int, Query(ge=0, le=2**53)],
    signature: Annotated[str, Query(max_length=200)],
) -> Response:
    """Download a content. The URL carries its own permit."""
    content = await services.objects.download(object_id, Permit(expires, signature))
    return StreamingResponse(
        content,
        media_type="application/octet-stream",
        # What was uploaded is nobody's web page on this address.
        headers={
            "content-disposition": "attachment",
            "x-content-type-options": "nosniff",
        },
    )


def _url(request: Request, object_id: str, permit: Permit) -> str:
    """The URL at which the client that asks reaches us, with *permit*."""
    query = urlencode({"expires": permit.expires_ms, "signature": permit.signature})
    base = str(request.base_url).rstrip("/")
    return f"{base}/v1/stockade/objects/{object_id}/content?{query}"


def _view(found: StoredObject) -> ObjectView:
    return ObjectView.model_validate(
        {
            "id": found.id,
            "name": found.name,
            "content_type": found.content_type,
            "state": found.state,
            "create_time_ms": found.create_time_ms,
            "size_bytes": found.size_bytes,
            "metadata": dict(found.labels),
            "delete_after_time_ms": found.delete_after_ms,
        }
    )
