"""Network policies: `/v1/network-policies`, and `/v1/stockade/network_policies`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import Body, Query
from pydantic import BaseModel, ConfigDict, Field

from stockade.api.auth import needs
from stockade.api.idempotency import Once
from stockade.api.paging import PageView, Paging, page_fields
from stockade.api.routing import router
from stockade.api.services import TheServices
from stockade.control.callers import Access, Caller, Resource
from stockade.control.policies import StoredPolicy

routes = router("network policies")

Reader = Annotated[Caller, needs(Resource.DEVBOXES, Access.READ)]
Writer = Annotated[Caller, needs(Resource.ACCOUNT, Access.WRITE)]
Filter = Annotated[str | None, Query(max_length=300)]


class PortRuleView(BaseModel):
    """A range of ports. Without a protocol: TCP and UDP."""

    model_config = ConfigDict(extra="forbid")

    port: int
    end_port: int | None = None
    protocol: Literal["TCP", "UDP"] | None = None


class AllowedCidrView(BaseModel):
    """A range of addresses. Without ports: all of them."""

    model_config = ConfigDict(extra="forbid")

    cidr: str
    ports: list[PortRuleView] | None = None


class PolicyChanges(BaseModel):
    """Fields of a policy; absent and null are the same.

    It documents the body. `control.policy_reading` reads it, and says of every entry
    what is wrong with it.
    """

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str | None, Field(min_length=1, max_length=255)] = None
    description: str | None = None
    allow_all: bool | None = None
    allowed_hostnames: list[str] | None = None
    allowed_cidrs: list[AllowedCidrView] | None = None
    allow_devbox_to_devbox: bool | None = None
    allow_agent_gateway: bool | None = None
    allow_mcp_gateway: bool | None = None
    allow_runloop_mirrors: bool | None = None


class PolicyParams(PolicyChanges):
    """A policy to create. With a name only, it denies everything."""

    name: Annotated[str, Field(min_length=1, max_length=255)]


class EgressView(BaseModel):
    """The rules of a policy."""

    allow_all: bool
    allow_devbox_to_devbox: bool
    allow_agent_gateway: bool
    allow_mcp_gateway: bool
    allow_runloop_mirrors: bool
    allowed_hostnames: list[str]
    allowed_cidrs: list[AllowedCidrView]


class PolicyView(BaseModel):
    """A network policy."""

    id: str
    name: str
    description: str | None
    create_time_ms: int
    update_time_ms: int
    egress: EgressView


class PolicyListView(PageView):
    """Network policies, newest first."""

    network_policies: list[PolicyView]


class RolloutDevboxView(BaseModel):
    """How far the latest generation is in one devbox.

    *generation* is the one in force, null before the first; *error* is why a later one
    is not. A devbox that is not *running* gets the latest before it starts again.
    """

    devbox_id: str
    running: bool
    generation: int | None
    at_ms: int | None
    flows_cut: int
    error: str | None


class RolloutView(BaseModel):
    """How far the latest generation of a policy is."""

    policy_id: str
    generation: int
    update_time_ms: int
    devboxes: list[RolloutDevboxView]


def _body(model: type[BaseModel]) -> Any:
    """A body that is documented as *model*, and read by the control plane."""
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    return {"requestBody": {"content": {"application/json": {"schema": schema}}}}


_RawBody = Annotated[dict[str, Any], Body()]


@routes.post("/v1/network-policies", openapi_extra=_body(PolicyParams))
async def create_policy(
    body: _RawBody, caller: Writer, services: TheServices, once: Once
) -> PolicyView:
    """Create a policy."""
    policy_id = await once(
        lambda note: services.policies.create(caller.account, body, note)
    )
    return _view(await services.policies.get(caller.account, policy_id))


@routes.get("/v1/network-policies")
async def list_policies(
    caller: Reader,
    services: TheServices,
    paging: Paging,
    policy_id: Annotated[str | None, Query(alias="id", max_length=300)] = None,
    name: Filter = None,
    search: Filter = None,
) -> PolicyListView:
    """List policies: of this id, with *name* in their name, *search* in either."""
    page = await services.policies.list(
        caller.account, paging, policy_id=policy_id, name=name, search=search
    )
    return PolicyListView(
        network_policies=[_view(item) for item in page.items], **page_fields(page)
    )


@routes.get("/v1/network-policies/{policy_id}")
async def get_policy(
    policy_id: str, caller: Reader, services: TheServices
) -> PolicyView:
    """A policy."""
    return _view(await services.policies.get(caller.account, policy_id))


@routes.post("/v1/network-policies/{policy_id}", openapi_extra=_body(PolicyChanges))
async def update_policy(
    policy_id: str, body: _RawBody, caller: Writer, services: TheServices
) -> PolicyView:
    """Change a policy. It is in force in running devboxes when this answers."""
    return _view(await services.policies.update(caller.account, policy_id, body))


@routes.post("/v1/network-policies/{policy_id}/delete")
async def delete_policy(
    policy_id: str, caller: Writer, services: TheServices
) -> PolicyView:
    """Delete a policy that nothing uses."""
    return _view(await services.policies.delete(caller.account, policy_id))


@routes.get("/v1/stockade/network_policies/{policy_id}/rollout")
async def get_rollout(
    policy_id: str, caller: Reader, services: TheServices
) -> RolloutView:
    """The generation in force in each devbox under a policy, since when, flows cut."""
    rollout = await services.policies.rollout(caller.account, policy_id)
    return RolloutView(
        policy_id=policy_id,
        generation=rollout.policy.generation,
        update_time_ms=rollout.policy.update_time_ms,
        devboxes=[
            RolloutDevboxView(
                devbox_id=box.devbox,
                running=box.running,
                generation=box.generation,
                at_ms=box.at_ms,
                flows_cut=box.cut,
                error=box.error,
            )
            for box in rollout.devboxes
        ],
    )


def _view(stored: StoredPolicy) -> PolicyView:
    rules = stored.policy.to_mapping()
    egress = {name: rules[name] for name in EgressView.model_fields}
    return PolicyView(
        id=stored.id,
        name=stored.policy.name,
        description=stored.policy.description,
        create_time_ms=stored.create_time_ms,
        update_time_ms=stored.update_time_ms,
        egress=EgressView.model_validate(egress),
    )
