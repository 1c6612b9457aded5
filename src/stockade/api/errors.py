"""Errors as responses: one table, looked up by the type of the error and its bases.

Every error body is `{"code", "message", …}`. Every error response says whether trying
again can help: the official client would otherwise repeat each 409 for half a minute.
"""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from stockade.errors import (
    Conflict,
    EnforcementError,
    HoldElapsed,
    HostnameError,
    InvalidRequest,
    NotFound,
    NotOffered,
    PermissionDenied,
    StockadeError,
    Unauthenticated,
    Unavailable,
)

_log = logging.getLogger(__name__)
_MAX_PROBLEMS: Final = 20


class TooLarge(InvalidRequest):
    """A body is larger than its path takes."""


class TooSlow(StockadeError):
    """A body did not arrive in time."""


class Answer(NamedTuple):
    """What an error becomes: a status, a code, and whether to try again."""

    status: int
    code: str
    retry: bool = False


_ANSWERS: Final[Mapping[type[StockadeError], Answer]] = {
    TooLarge: Answer(413, "body_too_large"),
    TooSlow: Answer(408, "body_too_slow", retry=True),
    NotOffered: Answer(501, "not_implemented"),
    HoldElapsed: Answer(408, "not_yet", retry=True),
    InvalidRequest: Answer(400, "invalid_request"),
    HostnameError: Answer(400, "invalid_hostname"),
    Unauthenticated: Answer(401, "unauthenticated"),
    PermissionDenied: Answer(403, "permission_denied"),
    NotFound: Answer(404, "not_found"),
    Conflict: Answer(409, "conflict"),
    Unavailable: Answer(503, "unavailable", retry=True),
    EnforcementError: Answer(503, "enforcement_unproven", retry=True),
}
_CODES: Final = {404: "not_found", 405: "method_not_allowed", 413: "body_too_large"}


class ErrorView(BaseModel):
    """The body of every error. Some errors carry further fields."""

    model_config = ConfigDict(extra="allow")

    code: str
    message: str


#: For routers: the errors that any operation can answer with.
RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    status: {"model": ErrorView, "description": description}
    for status, description in (
        (400, "The request is understood and refused."),
        (401, "The API key is missing or not valid."),
        (403, "The API key may not do this."),
        (404, "There is no such thing."),
        (405, "The path has no such method."),
        (408, "The body did not arrive in time."),
        (409, "The thing is not in a state for this, or a name is taken."),
        (413, "The body is too large."),
        (500, "A defect; the message carries an id to look for in the log."),
        (503, "The host is full or cannot be reached; try again."),
    )
}


def render(
    status: int, code: str, message: str, *, retry: bool, **details: object
) -> Response:
    """An error response."""
    body = json.dumps({**details, "code": code, "message": message}, default=str)
    return Response(
        # A lone surrogate that a message quotes is not to be an error of its own.
        body.encode(errors="replace"),
        status,
        headers={"x-should-retry": "true" if retry else "false"},
        media_type="application/json",
    )


def response_of(error: StockadeError) -> Response:
    """The response for an error; one that is not in the table is a defect of ours."""
    for kind in type(error).__mro__:
        if kind in _ANSWERS:
            answer = _ANSWERS[kind]
            code = error.code or answer.code
            if answer.status >= 500:
                _log.warning("refused", extra={"code": code, "reason": str(error)})
            response = render(
                answer.status, code, str(error), retry=answer.retry, **error.details
            )
            if isinstance(error, HoldElapsed):
                # The official client would pause for seconds between its waits.
                response.headers["retry-after-ms"] = "50"
            return response
    return defect(error)


def defect(error: Exception) -> Response:
    """The response for what must not happen: an id, and the rest in the log."""
    name = secrets.token_hex(8)
    _log.error("internal error", exc_info=error, extra={"error_id": name})
    message = f"internal error {name}: the server's log has what happened"
    return render(500, "internal_error", message, retry=True)


def install(app: FastAPI) -> None:
    """Have *app* answer errors this way."""
    app.add_exception_handler(StockadeError, _stockade_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _any_error)


async def _stockade_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, StockadeError)  # noqa: S101 - it is registered for these
    return response_of(error)


async def _validation_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - as above
    problems = [_problem(entry) for entry in error.errors()]
    more = len(problems) - _MAX_PROBLEMS
    text = "; ".join(problems[:_MAX_PROBLEMS])
    if more > 0:
        text += f"; and {more} more"
    return render(400, "invalid_request", text, retry=False)


async def _http_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - as above
    # The framework hides what went wrong while it read the body.
    if isinstance(error.__cause__, StockadeError):
        return response_of(error.__cause__)
    code = _CODES.get(error.status_code, "invalid_request")
    response = render(error.status_code, code, str(error.detail), retry=False)
    response.headers.update(error.headers or {})
    return response


async def _any_error(_request: Request, error: Exception) -> Response:
    return defect(error)


def _problem(entry: Mapping[str, Any]) -> str:
    """One problem of a body or a query, with the place where it is."""
    place: Sequence[Any] = entry["loc"][1:]
    where = "".join(
        f"[{part}]" if isinstance(part, int) else f".{part}" for part in place
    ).removeprefix(".")
    if entry["type"] == "json_invalid":
        return "the body is not JSON"
    message = str(entry["msg"]).removeprefix("Value error, ")
    return f"{where}: {message}"[:500] if where else message[:500]
