"""What stands before every route: the key, the bounds of the request, the counters.

Plain ASGI, because it runs for every request. Nothing behind it is reached without a
valid key, but health and readiness, and the content of objects, whose URLs are signed.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stockade.api.auth import STATE
from stockade.api.errors import TooLarge, TooSlow, response_of
from stockade.api.limits import body_limit
from stockade.api.metrics import Metrics
from stockade.control.accounts import Accounts
from stockade.errors import InvalidRequest, StockadeError, Unauthenticated

#: Paths that need no key.
OPEN_PATHS: Final = frozenset(("/healthz", "/readyz"))
#: Below it, each URL carries a signature of its own, which the route checks.
SIGNED_PREFIX: Final = "/v1/stockade/objects/"
#: How long a client may be silent while it sends a body.
BODY_SECONDS: Final = 60.0
_MAX_DIGITS: Final = 18


class Guard:
    """Lets through to *app* what has a valid key and keeps its bounds."""

    def __init__(self, app: ASGIApp, accounts: Accounts, metrics: Metrics) -> None:
        self._app = app
        self._accounts = accounts
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        exchange = _Exchange(receive, send)
        started = time.perf_counter()
        try:
            await self._admit(scope, exchange)
            await self._app(scope, exchange.receive, exchange.send)
        except StockadeError as error:
            if exchange.status:
                raise
            await response_of(error)(scope, receive, exchange.send)
        except Exception:
            # The error handler has logged it and answered; without an answer that is
            # complete, the connection has to break.
            if not exchange.is_complete:
                raise
        finally:
            self._metrics.count(scope, exchange.status, time.perf_counter() - started)

    async def _admit(self, scope: Scope, exchange: _Exchange) -> None:
        headers = dict(scope["headers"])
        path: str = scope["path"]
        if not (path in OPEN_PATHS or _is_signed(path)):
            scope[STATE] = await self._accounts.authenticate(_token(headers))
        if "\0" in path or b"%00" in scope["query_string"]:
            raise InvalidRequest("the URL holds a NUL character")
        limit = body_limit(path)
        declared = headers.get(b"content-length", b"0")
        # A number of thousands of digits is none that `int` would read.
        if (
            limit is not None
            and declared.isdigit()
            and (len(declared) > _MAX_DIGITS or int(declared) > limit)
        ):
            raise _too_large(limit)
        exchange.limit = limit


class _Exchange:
    """One request and its response: counts the one, sees how far the other is."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._has_body = False
        self._received = 0
        self.limit: int | None = 0
        self.status = 0
        self.is_complete = False

    async def receive(self) -> Message:
        """The next piece of the body; then, the end of the connection."""
        if self._has_body:
            return await self._receive()
        try:
            async with asyncio.timeout(BODY_SECONDS):
                message = await self._receive()
        except TimeoutError:
            raise TooSlow("the body of the request did not arrive in time") from None
        self._received += len(message.get("body", b""))
        if self.limit is not None and self._received > self.limit:
            raise _too_large(self.limit)
        self._has_body = not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        """Pass on a piece of the response."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
        elif not message.get("more_body", False):
            self.is_complete = True
        await self._send(message)


def _is_signed(path: str) -> bool:
    return path.startswith(SIGNED_PREFIX) and path.endswith("/content")


def _token(headers: dict[bytes, bytes]) -> str:
    kind, _, token = headers.get(b"authorization", b"").partition(b" ")
    if kind.lower() != b"bearer" or not token.strip():
        raise Unauthenticated("an API key is needed: Authorization: Bearer ak_…")
    return token.strip().decode("latin-1")


def _too_large(limit: int) -> TooLarge:
    error = TooLarge(f"the body is larger than {limit} bytes")
    error.coded("body_too_large", limit=limit)
    return error
