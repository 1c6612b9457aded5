"""Who calls: parameters of route functions that name the caller and check its key.

    @routes.get("/v1/devboxes")
    async def list_devboxes(caller: Annotated[Caller, needs(DEVBOXES, READ)]) -> …

The guard (`api.guard`) has authenticated every request before a route is looked for. A
route without one of these checks no scopes.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends
from starlette.requests import Request

from stockade.control.callers import Access, Caller, Resource
from stockade.errors import Unauthenticated

#: Where the guard leaves the caller in the scope of a request.
STATE = "stockade_caller"


async def caller(request: Request) -> Caller:
    """The caller that the guard found. There is none without a valid key."""
    found = request.scope.get(STATE)
    if not isinstance(found, Caller):
        raise Unauthenticated("an API key is needed: Authorization: Bearer ak_…")
    return found


#: The caller, with any key.
AnyCaller = Annotated[Caller, Depends(caller)]


def needs(resource: Resource, access: Access) -> Any:
    """The caller, whose key must give *access* to *resource*."""

    async def permitted(found: AnyCaller) -> Caller:
        found.require(resource, access)
        return found

    return Depends(permitted)
