"""MCP configs: `/v1/mcp-configs`."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query
from pydantic import BaseModel, Field

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

routes = router("mcp configs")

Reader = Annotated[Caller, needs(Resource.ACCOUNT, Access.READ)]
Writer = Annotated[Caller, needs(Resource.ACCOUNT, Access.WRITE)]
Filter = Annotated[str | None, Query(max_length=300)]

Tools = Annotated[list[str] | None, Field(max_length=1000)]


class McpConfigChanges(ConfigChanges):
    """Fields of a config; absent and null are the same."""

    allowed_tools: Tools = None

    def fields(self) -> dict[str, Any]:
        """Those that are given, as values and by the names of `ConfigFields`."""
        given = super().fields()
        if self.allowed_tools is not None:
            given["allowed_tools"] = tuple(self.allowed_tools)
        return given


class McpConfigParams(McpConfigChanges):
    """A config to keep."""

    name: Text
    endpoint: Url
    auth_mechanism: AuthShape | None = None
    allowed_tools: Annotated[list[str], Field(max_length=1000)]
    custom_headers: Headers = None
    description: Description = None


class McpConfigView(BaseModel):
    """A config of the MCP hub."""

    id: str
    name: str
    endpoint: str
    auth_mechanism: AuthShape
    custom_headers: list[HeaderShape]
    description: str | None
    create_time_ms: int
    allowed_tools: list[str]


class McpConfigListView(PageView):
    """MCP configs, newest first."""

    mcp_configs: list[McpConfigView]


@routes.post("/v1/mcp-configs")
async def create_mcp_config(
    params: McpConfigParams, caller: Writer, services: TheServices, once: Once
) -> McpConfigView:
    """Keep a config."""
    fields = ConfigFields(**params.fields())
    config_id = await once(
        lambda note: services.mcp_configs.create(caller.account, fields, note)
    )
    return _view(await services.mcp_configs.get(caller.account, config_id))


@routes.get("/v1/mcp-configs")
async def list_mcp_configs(
    caller: Reader,
    services: TheServices,
    paging: Paging,
    config_id: Annotated[str | None, Query(alias="id", max_length=300)] = None,
    name: Filter = None,
    search: Filter = None,
) -> McpConfigListView:
    """List configs."""
    page = await services.mcp_configs.list(
        caller.account, paging, config_id=config_id, name=name, search=search
    )
    return McpConfigListView(
        mcp_configs=[_view(item) for item in page.items], **page_fields(page)
    )


@routes.get("/v1/mcp-configs/{config_id}")
async def get_mcp_config(
    config_id: str, caller: Reader, services: TheServices
) -> McpConfigView:
    """A config."""
    return _view(await services.mcp_configs.get(caller.account, config_id))


@routes.post("/v1/mcp-configs/{config_id}")
async def update_mcp_config(
    config_id: str, params: McpConfigChanges, caller: Writer, services: TheServices
) -> McpConfigView:
    """Change a config."""
    return _view(
        await services.mcp_configs.update(caller.account, config_id, params.fields())
    )


@routes.post("/v1/mcp-configs/{config_id}/delete")
async def delete_mcp_config(
    config_id: str, caller: Writer, services: TheServices
) -> McpConfigView:
    """Delete a config."""
    return _view(await services.mcp_configs.delete(caller.account, config_id))


def _view(config: Config) -> McpConfigView:
    return McpConfigView.model_validate(
        {**shared_view(config), "allowed_tools": list(config.fields.allowed_tools)}
    )
