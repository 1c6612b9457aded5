"""The header `x-request-id`, by which a request that is sent again is known.

async def create_thing(body: …, caller: …, once: Once) -> ThingView:
    thing_id = await once(lambda note: services.things.create(…, note=note))
    return view(await services.things.get(caller.account, thing_id))
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from typing import Annotated, Final

from fastapi import Depends
from starlette.requests import Request

from stockade.api.auth import AnyCaller
from stockade.api.services import services_of
from stockade.control.idempotency import Note, RequestKey, no_note
from stockade.errors import InvalidRequest

HEADER: Final = "x-request-id"
_MAX_KEY: Final = 255

_Make = Callable[[Note], Awaitable[str]]


async def _once(
    request: Request, caller: AnyCaller
) -> Callable[[_Make], Awaitable[str]]:
    key = request.headers.get(HEADER)
    if key is None:
        return _always
    if not 1 <= len(key) <= _MAX_KEY:
        raise InvalidRequest(f"{HEADER}: 1 to {_MAX_KEY} characters are allowed")
    asked = RequestKey(
        account=caller.account,
        route=f"{request.method} {request.url.path}"[:255],
        key=key,
        body=hashlib.sha256(await request.body()).hexdigest(),
    )
    idempotency = services_of(request).idempotency

    async def once(make: _Make) -> str:
        return await idempotency.once(asked, make)

    return once


async def _always(make: _Make) -> str:
    return await make(no_note)


#: Carries out what makes a resource, once for each key; the id of the resource.
Once = Annotated[Callable[[_Make], Awaitable[str]], Depends(_once)]
