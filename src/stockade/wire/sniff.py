"""What the first bytes of a connection are, and which name they carry."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from stockade.errors import WireError
from stockade.wire.http1 import MAX_HEAD, RequestHead, parse_request_head
from stockade.wire.tls import ClientHello, parse_client_hello

MAX_SNIFF = MAX_HEAD + 1

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_TOKEN_BYTES = frozenset(
    b"!#$%&'*+.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-"
)
_METHODS = (
    b"GET ",
    b"HEAD ",
    b"POST ",
    b"PUT ",
    b"DELETE ",
    b"CONNECT ",
    b"OPTIONS ",
    b"TRACE ",
    b"PATCH ",
)


class Protocol(StrEnum):
    TLS = "tls"
    HTTP = "http"
    H2C = "h2c"
    OPAQUE = "opaque"


class SniffError(WireError):
    def __init__(self, message: str, protocol: Protocol) -> None:
        self.protocol = protocol
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Sniffed:
    protocol: Protocol
    name: str | None
    hello: ClientHello | None
    head: RequestHead | None


_OPAQUE = Sniffed(Protocol.OPAQUE, None, None, None)


def sniff(data: bytes) -> Sniffed | None:
    if not data:
        return None
    if data[0] == 0x16:
        if len(data) == 1:
            return None
        if data[1] == 3:
            try:
                hello = parse_client_hello(data)
            except WireError as e:
                raise SniffError(str(e), Protocol.TLS) from None
            return (
                None
                if hello is None
                else Sniffed(Protocol.TLS, hello.server_name, hello, None)
            )
        return _OPAQUE
    if data.startswith(_PREFACE):
        return Sniffed(Protocol.H2C, None, None, None)
    if _PREFACE.startswith(data):
        return None
    stripped = data.lstrip(b"\r\n")
    if len(stripped) != len(data):
        if not stripped:
            return None
        if stripped[0] in _TOKEN_BYTES:
            raise SniffError("empty line before a request", Protocol.HTTP)
        return _OPAQUE
    line, newline, _ = data.partition(b"\n")
    method = re.match(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]*", line[:33])
    size = method.end() if method else 0
    if (
        size == 0
        or size > 32
        or (size < len(line) and line[size : size + 1] not in (b" ", b"\r", b"\t"))
    ):
        return _OPAQUE
    if newline:
        if not (re.search(rb"HTTP/[0-9]", line) or line.upper().startswith(_METHODS)):
            return _OPAQUE
    elif len(data) < MAX_HEAD and not line.startswith(_METHODS):
        if any(c < 0x20 and c not in b"\r\t" for c in line):
            return _OPAQUE
        return None
    try:
        head = parse_request_head(data)
    except WireError as e:
        raise SniffError(str(e), Protocol.HTTP) from None
    return None if head is None else Sniffed(Protocol.HTTP, head.host, None, head)
