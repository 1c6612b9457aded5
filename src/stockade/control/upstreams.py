"""What an upstream config holds, checked: endpoint, credentials, further headers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from urllib.parse import urlsplit

from stockade.errors import InvalidRequest

MAX_HEADERS: Final = 8
MAX_TOOLS: Final = 1000
_TOKEN: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,256}", re.ASCII)  # RFC 9110
# Visible characters, blanks and tabs, nothing that could end a header.
_VALUE: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]{0,8192}")


class AuthKind(StrEnum):
    """How a credential is put on a request."""

    HEADER = "header"
    BEARER = "bearer"
    BASIC = "basic"


@dataclass(frozen=True, slots=True)
class AuthMechanism:
    """How a credential is put on a request; *key* is the header's name, of that kind."""

    kind: AuthKind
    key: str | None = None

    def __post_init__(self) -> None:
        if (self.kind is AuthKind.HEADER) != (self.key is not None):
            raise InvalidRequest(
                'auth_mechanism.key: the name of a header goes with type "header", '
                "and with no other"
            )
        if self.key is not None:
            check_header_name(self.key, "auth_mechanism.key")


@dataclass(frozen=True, slots=True)
class CustomHeader:
    """A header that is added: with a value, or with that of a secret."""

    name: str
    secret: str | None = None
    value: str | None = None

    def __post_init__(self) -> None:
        check_header_name(self.name, "custom_headers")
        if (self.secret is None) == (self.value is None):
            raise InvalidRequest(
                f"custom_headers: {self.name} needs either a secret or a value"
            )
        if self.value is not None and _VALUE.fullmatch(self.value) is None:
            raise InvalidRequest(
                f"custom_headers: the value of {self.name} is not that of a header"
            )


def check_header_name(name: str, where: str) -> None:
    """Raise `InvalidRequest` unless *name* can be that of a header."""
    if _TOKEN.fullmatch(name) is None:
        raise InvalidRequest(f"{where}: {name[:80]!r} is not the name of a header")


def check_endpoint(endpoint: str) -> None:
    """Raise `InvalidRequest` unless *endpoint* is a URL that can be called."""
    try:
        parts = urlsplit(endpoint)
        host = parts.hostname if parts.port != 0 else None
    except ValueError:
        host = None
    is_plain = endpoint.isascii() and endpoint.isprintable() and " " not in endpoint
    if not (is_plain and host and parts.scheme in ("http", "https")):
        raise InvalidRequest(
            f"endpoint: {endpoint[:200]!r} is not a URL such as https://api.example"
        )
    if parts.username is not None or parts.fragment:
        raise InvalidRequest("endpoint: leave out credentials and the fragment")


def check_headers(headers: tuple[CustomHeader, ...]) -> None:
    """Raise `InvalidRequest` for too many, or for one that is there twice."""
    if len(headers) > MAX_HEADERS:
        raise InvalidRequest(f"custom_headers: at most {MAX_HEADERS} are allowed")
    names = [header.name.lower() for header in headers]
    if len(set(names)) < len(names):
        raise InvalidRequest("custom_headers: a header is there twice")


def check_tools(tools: tuple[str, ...]) -> None:
    """Raise `InvalidRequest` unless *tools* are patterns of tool names."""
    if not tools or len(tools) > MAX_TOOLS:
        raise InvalidRequest(f"allowed_tools: 1 to {MAX_TOOLS} patterns are needed")
    for tool in tools:
        if not 1 <= len(tool) <= 256 or not tool.isprintable():
            raise InvalidRequest(f"allowed_tools: {tool[:80]!r} is not a pattern")
