"""Devboxes: `/v1/devboxes`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import Body, Query
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from stockade.api.auth import needs
from stockade.api.filters import metadata_filters
from stockade.api.idempotency import Once
from stockade.api.paging import PageView, Paging, page_fields
from stockade.api.routing import router
from stockade.api.services import TheServices
from stockade.api.streams import event_stream, silent
from stockade.control.callers import Access, Caller, Resource
from stockade.control.devbox_records import Devbox
from stockade.control.states import Status, parse_status
from stockade.errors import NotOffered

routes = router("devboxes")

Reader = Annotated[Caller, needs(Resource.DEVBOXES, Access.READ)]
Writer = Annotated[Caller, needs(Resource.DEVBOXES, Access.WRITE)]
#: A body that may be absent; the control plane reads it.
RawBody = Annotated[dict[str, Any] | None, Body()]
DEFAULT_HOLD = 10.0


class TransitionView(BaseModel):
    """When a devbox came to a status."""

    status: Status
    transition_time_ms: int
    failure_reason: str | None = None


class DevboxView(BaseModel):
    """A devbox."""

    id: str
    status: Status
    capabilities: list[str] = []
    create_time_ms: int
    end_time_ms: int | None
    launch_parameters: dict[str, Any]
    metadata: dict[str, str]
    state_transitions: list[TransitionView]
    name: str | None
    blueprint_id: str | None
    snapshot_id: str | None
    failure_reason: str | None
    shutdown_reason: str | None
    initiator_type: Literal["api"] = "api"


class DevboxListView(PageView):
    """Devboxes, newest first."""

    devboxes: list[DevboxView]


class WaitParams(BaseModel):
    """Which statuses to wait for, and for how long an answer may be held back."""

    statuses: Annotated[list[str], Field(min_length=1, max_length=20)]
    timeout_seconds: Annotated[float | None, Field(ge=0, allow_inf_nan=False)] = None


class EmptyView(BaseModel):
    """Nothing more is to be said."""


@routes.post("/v1/devboxes")
async def create_devbox(
    caller: Writer, services: TheServices, once: Once, body: RawBody = None
) -> DevboxView:
    """Create a devbox. It is `provisioning` when this answers."""
    devboxes = services.plane.devboxes
    devbox = await once(lambda note: devboxes.create(caller.account, body or {}, note))
    return view(await devboxes.get(caller.account, devbox))


@routes.post("/v1/devboxes/create_and_await_running")
async def create_and_await_running(
    caller: Writer, services: TheServices, once: Once, body: RawBody = None
) -> DevboxView:
    """Create a devbox and wait a while for it to run."""
    devboxes = services.plane.devboxes
    devbox = await once(lambda note: devboxes.create(caller.account, body or {}, note))
    return view(await devboxes.started(caller.account, devbox))


@routes.get("/v1/devboxes")
async def list_devboxes(
    request: Request,
    caller: Reader,
    services: TheServices,
    paging: Paging,
    status: Annotated[str | None, Query(max_length=40)] = None,
) -> DevboxListView:
    """List devboxes: of this status, with `metadata[KEY]` having this value."""
    page = await services.plane.devboxes.records.list(
        caller.account,
        paging,
        parse_status(status) if status else None,
        metadata_filters(request.query_params),
    )
    return DevboxListView(
        devboxes=[view(item) for item in page.items], **page_fields(page)
    )


@routes.get("/v1/devboxes/evictions/watch")
async def watch_evictions(_caller: Reader) -> Response:
    """A stream in which nothing happens: this server evicts no devbox."""
    return event_stream(silent())


@routes.get("/v1/devboxes/{devbox_id}")
async def get_devbox(
    devbox_id: str, caller: Reader, services: TheServices
) -> DevboxView:
    """A devbox."""
    return view(await services.plane.devboxes.get(caller.account, devbox_id))


@routes.post("/v1/devboxes/{devbox_id}")
async def update_devbox(
    devbox_id: str, caller: Writer, services: TheServices, body: RawBody = None
) -> DevboxView:
    """Change the name and the metadata of a devbox."""
    devboxes = services.plane.devboxes
    return view(await devboxes.update(caller.account, devbox_id, body or {}))


@routes.post("/v1/devboxes/{devbox_id}/wait_for_status")
async def wait_for_status(
    devbox_id: str, body: WaitParams, caller: Reader, services: TheServices
) -> DevboxView:
    """A devbox as soon as it has one of the statuses; 408 while it has none of them."""
    statuses = {parse_status(text) for text in body.statuses}
    hold = DEFAULT_HOLD if body.timeout_seconds is None else body.timeout_seconds
    return view(
        await services.plane.devboxes.wait(caller.account, devbox_id, statuses, hold)
    )


@routes.post("/v1/devboxes/{devbox_id}/suspend")
async def suspend_devbox(
    devbox_id: str, caller: Writer, services: TheServices
) -> DevboxView:
    """End the processes of a devbox and keep its disk."""
    return view(await services.plane.devboxes.suspend(caller.account, devbox_id))


@routes.post("/v1/devboxes/{devbox_id}/resume")
async def resume_devbox(
    devbox_id: str, caller: Writer, services: TheServices
) -> DevboxView:
    """Start a suspended devbox again. It is `provisioning` when this answers."""
    return view(await services.plane.devboxes.resume(caller.account, devbox_id))


@routes.post("/v1/devboxes/{devbox_id}/keep_alive")
async def keep_alive(
    devbox_id: str, caller: Writer, services: TheServices
) -> EmptyView:
    """Count a devbox as used now."""
    await services.plane.devboxes.keep_alive(caller.account, devbox_id)
    return EmptyView()


@routes.post("/v1/devboxes/{devbox_id}/shutdown")
async def shutdown_devbox(
    devbox_id: str,
    caller: Writer,
    services: TheServices,
    *,
    force: Annotated[bool, Query()] = False,
) -> DevboxView:
    """Shut a devbox down for good."""
    devboxes = services.plane.devboxes
    return view(await devboxes.shutdown(caller.account, devbox_id, force=force))


async def _not_offered(devbox_id: str, caller: Writer, services: TheServices) -> None:
    """This server does not have it yet."""
    await services.plane.devboxes.get(caller.account, devbox_id)
    raise NotOffered("this server does not have tunnels, terminals and gateways yet")


for _action in (
    "enable_tunnel",
    "remove_tunnel",
    "create_pty_tunnel",
    "create_ssh_key",
    "create_gateway_token",
    "create_mcp_token",
):
    routes.add_api_route(
        f"/v1/devboxes/{{devbox_id}}/{_action}",
        _not_offered,
        methods=["POST"],
        name=_action,
        operation_id=_action,
        status_code=501,
    )


def view(devbox: Devbox) -> DevboxView:
    """A devbox as the API shows it."""
    return DevboxView(
        id=devbox.id,
        status=devbox.status,
        create_time_ms=devbox.created_ms,
        end_time_ms=devbox.ended_ms,
        launch_parameters=dict(devbox.launch),
        metadata=dict(devbox.metadata),
        state_transitions=[
            TransitionView(
                status=one.status,
                transition_time_ms=one.at_ms,
                failure_reason=one.failure,
            )
            for one in devbox.transitions
        ],
        name=devbox.name,
        blueprint_id=devbox.blueprint_id,
        snapshot_id=devbox.snapshot_id,
        failure_reason=devbox.failure_reason,
        shutdown_reason=devbox.shutdown_reason,
    )
