"""Health, readiness and counters."""

from __future__ import annotations

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from stockade.api.auth import AnyCaller
from stockade.api.routing import router
from stockade.api.services import TheServices

routes = router("health")


class HealthView(BaseModel):
    """A server that answers."""

    status: str


@routes.get("/healthz")
async def health() -> HealthView:
    """Whether the process serves requests. Needs no key."""
    return HealthView(status="ok")


@routes.get("/readyz")
async def readiness(services: TheServices) -> HealthView:
    """Whether the database answers, too. Needs no key."""
    await services.accounts.check()
    return HealthView(status="ready")


@routes.get("/metrics", response_class=Response)
async def metrics(request: Request, _caller: AnyCaller) -> Response:
    """Counters, in Prometheus' text format."""
    return Response(
        request.app.state.metrics.render(), media_type="text/plain; version=0.0.4"
    )
