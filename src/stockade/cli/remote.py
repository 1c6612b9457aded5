"""The API as the commands of this program call it."""

from __future__ import annotations

import ipaddress
import json
import os
import ssl
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, NoReturn, Self
from urllib.parse import quote, urlsplit

import httpx2

from stockade import __version__
from stockade.cli.access import Access, find_access
from stockade.config import load_settings
from stockade.errors import (
    Conflict,
    InvalidRequest,
    NotFound,
    PermissionDenied,
    StockadeError,
    Unauthenticated,
    Unavailable,
)

_ERRORS: Mapping[int, type[StockadeError]] = {
    400: InvalidRequest,
    401: Unauthenticated,
    403: PermissionDenied,
    404: NotFound,
    409: Conflict,
    422: InvalidRequest,
}
_CONNECT = 5.0
_READ = 60.0
_PAGE = 100


class Remote:
    """A connection to the API. Use it in a `with` block."""

    def __init__(
        self, access: Access, transport: httpx2.BaseTransport | None = None
    ) -> None:
        self._url = access.url.rstrip("/")
        host = urlsplit(self._url).hostname
        if not self._url.startswith(("http://", "https://")) or not host:
            raise InvalidRequest(f"{access.url!r} is not a URL of an API server")
        self._http = httpx2.Client(
            base_url=self._url,
            headers={
                "Authorization": f"Bearer {access.api_key}",
                "User-Agent": f"stockade/{__version__}",
            },
            verify=_trust(self._url, access.ca_file),
            # A proxy in the environment is not the way to this machine.
            trust_env=not _is_here(host),
            timeout=httpx2.Timeout(_READ, connect=_CONNECT),
            transport=transport,
        )

    def __enter__(self) -> Self:
        """Close the connection at the end of the block."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connection."""
        self._http.close()

    def get(self, path: str, **query: object) -> Any:
        """Ask for a resource; None stands for a value not given."""
        given = {key: str(value) for key, value in query.items() if value is not None}
        return self._send("GET", path, params=given)

    def post(
        self,
        path: str,
        body: Mapping[str, object] | None = None,
        *,
        seconds: float = _READ,
        accepted: frozenset[int] = frozenset(),
    ) -> Any:
        """Ask for a change; None when the status is one of *accepted*."""
        timeout = httpx2.Timeout(seconds, connect=_CONNECT)
        return self._send(
            "POST", path, json=dict(body or {}), timeout=timeout, accepted=accepted
        )

    def pages(self, path: str, key: str, **query: object) -> Iterator[dict[str, Any]]:
        """Yield the items of a list, page by page."""
        after: str | None = None
        while True:
            page = self.get(
                path,
                limit=_PAGE,
                starting_after=after,
                include_total_count="false",
                **query,
            )
            yield from page[key]
            if not page["has_more"] or not page[key]:
                return
            after = page[key][-1]["id"]

    def stream(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        **options: Any,
    ) -> _Stream:
        """Open a response whose body is read as it comes."""
        options.setdefault("timeout", httpx2.Timeout(_READ, connect=_CONNECT))
        return _Stream(
            self, self._http.stream(method, path, params=params or {}, **options)
        )

    def _send(
        self,
        method: str,
        path: str,
        *,
        accepted: frozenset[int] = frozenset(),
        **options: Any,
    ) -> Any:
        try:
            response = self._http.request(method, path, **options)
        except httpx2.HTTPError as error:
            self.unreachable(error)
        if response.status_code in accepted:
            return None
        if not response.is_success:
            raise refusal(response.status_code, response.content)
        try:
            return response.json()
        except ValueError:
            raise Unavailable(f"{self._url}{path} does not answer as an API") from None

    def unreachable(self, error: httpx2.HTTPError) -> NoReturn:
        """Say that the server cannot be reached, or has stopped answering."""
        if isinstance(error, httpx2.ReadTimeout):
            raise Unavailable(f"{self._url} does not answer in time") from None
        if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout):
            raise Unavailable(
                f"{self._url} cannot be reached: {error}; does `stockade serve` run?"
            ) from None
        raise Unavailable(
            f"{self._url}: {str(error) or type(error).__name__}"
        ) from None


class _Stream:
    """A response that is read as it comes."""

    def __init__(self, remote: Remote, opening: Any) -> None:
        self._remote = remote
        self._opening = opening
        self._response: httpx2.Response | None = None

    def __enter__(self) -> httpx2.Response:
        """Send the request; raises for a refusal."""
        try:
            response: httpx2.Response = self._opening.__enter__()
        except httpx2.HTTPError as error:
            self._remote.unreachable(error)
        if not response.is_success:
            try:
                content = response.read()
            finally:
                self._opening.__exit__(None, None, None)
            raise refusal(response.status_code, content)
        return response

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the response; what fails while it is read is told in our words."""
        self._opening.__exit__(kind, error, traceback)
        if isinstance(error, httpx2.HTTPError):
            self._remote.unreachable(error)


def refusal(status: int, content: bytes) -> StockadeError:
    """The error that a response stands for."""
    try:
        message = str(json.loads(content)["message"])
    except (ValueError, KeyError, TypeError):
        message = content.decode(errors="replace").strip()[:200] or f"status {status}"
    kind = _ERRORS.get(status, Unavailable)
    if kind is Unauthenticated:
        message = f"{message} (is the key in RUNLOOP_API_KEY for this server?)"
    return kind(message)


def connect() -> Remote:
    """A connection to the server that the environment, or this machine, names."""
    return Remote(find_access(os.environ, load_settings(os.environ)))


def segment(text: str) -> str:
    """*text* as one segment of a path."""
    return quote(text, safe="")


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _trust(url: str, ca_file: str | None) -> ssl.SSLContext | bool:
    if not url.startswith("https://"):
        return True
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise InvalidRequest(f"{ca_file}: {error}") from None
