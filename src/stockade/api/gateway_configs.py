"""Gateway configs: `/v1/gateway-configs`."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query
from pydantic import BaseModel

from stockade.api.auth import needs
from stockade.api.config_shapes import (
    AuthShape,
    ConfigChanges,
    Description,
    Headers,
    HeaderShape,
    Text,
    Url,
    shared_view,
)
from stockade.api.idempotency import Once
from stockade.api.paging import PageView, Paging, page_fields
from stockade.api.routing import router
from stockade.api.services import TheServices
from stockade.control.callers import Access, Caller, Resource
from stockade.control.configs import Config, ConfigFields

routes = router("gateway configs")

Reader = Annotated[Caller, needs(Resource.ACCOUNT, Access.READ)]
Writer = Annotated[Caller, needs(Resource.ACCOUNT, Access.WRITE)]
Filter = Annotated[str | None, Query(max_length=300)]


class GatewayConfigParams(ConfigChanges):
    """A config to keep."""

    name: Text
    endpoint: Url
    auth_mechanism: AuthShape
    custom_headers: Headers = None
    description: Description = None


class GatewayConfigView(BaseModel):
    """A config of the agent gateway; without an account, one that all have."""

    id: str
    name: str
    endpoint: str
    auth_mechanism: AuthShape
    custom_headers: list[HeaderShape]
    description: str | None
    create_time_ms: int
    account_id: str | None


class GatewayConfigListView(PageView):
    """Gateway configs, newest first."""

    gateway_configs: list[GatewayConfigView]


@routes.post("/v1/gateway-configs")
async def create_gateway_config(
    params: GatewayConfigParams, caller: Writer, services: TheServices, once: Once
) -> GatewayConfigView:
    """Keep a config."""
    fields = ConfigFields(**params.fields())
    config_id = await once(
        lambda note: services.gateway_configs.create(caller.account, fields, note)
    )
    return _view(await services.gateway_configs.get(caller.account, config_id))


@routes.get("/v1/gateway-configs")
async def list_gateway_configs(
    caller: Reader,
    services: TheServices,
    paging: Paging,
    config_id: Annotated[str | None, Query(alias="id", max_length=300)] = None,
    name: Filter = None,
    search: Filter = None,
) -> GatewayConfigListView:
    """List configs: the account's, and those that every account has."""
    page = await services.gateway_configs.list(
        caller.account, paging, config_id=config_id, name=name, search=search
    )
    return GatewayConfigListView(
        gateway_configs=[_view(item) for item in page.items], **page_fields(page)
    )


@routes.get("/v1/gateway-configs/{config_id}")
async def get_gateway_config(
    config_id: str, caller: Reader, services: TheServices
) -> GatewayConfigView:
    """A config."""
    return _view(await services.gateway_configs.get(caller.account, config_id))


@routes.post("/v1/gateway-configs/{config_id}")
async def update_gateway_config(
    config_id: str, params: ConfigChanges, caller: Writer, services: TheServices
) -> GatewayConfigView:
    """Change a config."""
    return _view(
        await services.gateway_configs.update(
            caller.account, config_id, params.fields()
        )
    )


@routes.post("/v1/gateway-configs/{config_id}/delete")
async def delete_gateway_config(
    config_id: str, caller: Writer, services: TheServices
) -> GatewayConfigView:
    """Delete a config."""
    return _view(await services.gateway_configs.delete(caller.account, config_id))


def _view(config: Config) -> GatewayConfigView:
    return GatewayConfigView.model_validate(
        {**shared_view(config), "account_id": config.account}
    )
