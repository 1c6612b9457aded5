"""Routers as all resources use them: checked JSON bodies, and the errors documented."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from stockade.api.errors import RESPONSES
from stockade.api.limits import check_texts
from stockade.errors import InvalidRequest


class CheckedRequest(Request):
    """A request whose JSON is what the standard calls JSON, with texts that are texts."""

    async def json(self) -> Any:
        """The body. Raises `InvalidRequest` for what cannot be kept or answered."""
        if not hasattr(self, "_checked"):
            body = await self.body()
            self._checked = _parse(body)
            if b"\\u" in body:
                check_texts(self._checked, self.url.path)
        return self._checked


def _parse(body: bytes) -> Any:
    try:
        return json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"the body is not JSON: {error}") from None


def _refuse_constant(name: str) -> None:
    raise InvalidRequest(f"the body is not JSON: {name} is no number")


class CheckedRoute(APIRoute):
    """A route whose handler is given a `CheckedRequest`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap the handler of the framework."""
        handler = super().get_route_handler()

        async def checked(request: Request) -> Response:
            return await handler(CheckedRequest(request.scope, request.receive))

        return checked


def router(tag: str) -> APIRouter:
    """A router for the paths of one kind of resource."""
    return APIRouter(tags=[tag], responses=RESPONSES, route_class=CheckedRoute)
