"""The application: every route, behind the guard.

To add a resource: a module with `routes = router("…")`, and a line in `_ROUTERS`.
"""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi

from stockade import __version__
from stockade.api import (
    accounts,
    devbox_logs,
    devboxes,
    disk_snapshots,
    errors,
    executions,
    files,
    gateway_configs,
    health,
    mcp_configs,
    not_offered,
    objects,
    policies,
    secrets,
)
from stockade.api.guard import OPEN_PATHS, Guard
from stockade.api.metrics import Metrics
from stockade.api.services import Services

_ROUTERS: Final[tuple[APIRouter, ...]] = (
    health.routes,
    accounts.routes,
    policies.routes,
    secrets.routes,
    objects.routes,
    gateway_configs.routes,
    mcp_configs.routes,
    # Before those of devboxes: `disk_snapshots` is no id.
    disk_snapshots.routes,
    devboxes.routes,
    executions.routes,
    files.routes,
    devbox_logs.routes,
    not_offered.routes,
)

# They document bodies that the control plane reads.
_BODIES: Final = (policies.PolicyParams, policies.PolicyChanges)


def create_app(services: Services) -> FastAPI:
    """The ASGI application over *services*, which are started already."""
    app = FastAPI(
        title="Stockade",
        version=__version__,
        description="Devboxes under network policies, over the Runloop API.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.services = services
    app.state.metrics = Metrics()
    errors.install(app)
    for routes in _ROUTERS:
        app.include_router(routes)
    app.openapi = lambda: _describe(app)  # type: ignore[method-assign]
    app.add_middleware(Guard, accounts=services.accounts, metrics=app.state.metrics)
    return app


def _describe(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, made when it is first asked for."""
    if app.openapi_schema is None:
        schema = get_openapi(
            title=app.title,
            version=app.version,
            description=app.description,
            routes=app.routes,
        )
        components = schema.setdefault("components", {})
        components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        schema["security"] = [{"key": []}]
        for model in _BODIES:
            described = model.model_json_schema(
                ref_template="#/components/schemas/{model}"
            )
            components["schemas"].update(described.pop("$defs", {}))
            components["schemas"][model.__name__] = described
        for path, operations in schema["paths"].items():
            for operation in operations.values():
                # Validation errors are 400 here.
                operation["responses"].pop("422", None)
                if path in OPEN_PATHS:
                    operation["security"] = []
        app.openapi_schema = schema
    return app.openapi_schema
