"""Parts of Runloop's API that this server does not have: it says so, once, at once."""

from __future__ import annotations

from typing import Any, Final

from stockade.api.auth import AnyCaller
from stockade.api.errors import ErrorView
from stockade.api.routing import router
from stockade.errors import NotOffered

routes = router("not offered")

_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    501: {"model": ErrorView, "description": "This server does not have that."}
}


@routes.get("/v1/axons", responses=_RESPONSES)
@routes.post("/v1/axons", operation_id="create_axon", responses=_RESPONSES)
@routes.api_route(
    "/v1/axons/{rest:path}", methods=["GET", "POST"], include_in_schema=False
)
async def axons(_caller: AnyCaller) -> None:
    """Event streams. There are none here."""
    raise NotOffered("axons are not offered by this server")
