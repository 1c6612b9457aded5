"""TLS: the ClientHello and the one alert we send (RFC 8446, RFC 5246, RFC 6066)."""

from __future__ import annotations

from dataclasses import dataclass

from stockade.errors import WireError
from stockade.wire.cursor import Cursor

MAX_HELLO = 16_384
MAX_RECORDS = 128

_HANDSHAKE = 22
_CLIENT_HELLO = 1
_SERVER_NAME = 0
_ALPN = 16
_ECH = 0xFE0D
_HOST_NAME = 0
_MAX_RECORD = 16_384


@dataclass(frozen=True, slots=True)
class ClientHello:
    """What a client says first. *server_name* as sent, None without the extension."""

    server_name: str | None
    alpn: tuple[str, ...] = ()
    has_ech: bool = False


def access_denied_alert() -> bytes:
    """A fatal `access_denied` alert (RFC 8446 section 6.2)."""
    return b"\x15\x03\x03\x00\x02\x02\x31"


def parse_client_hello(data: bytes) -> ClientHello | None:
    """Read a ClientHello that may span records; None when more is needed."""
    message = _handshake_message(data)
    return None if message is None else _parse_body(Cursor(message))


def _handshake_message(data: bytes) -> bytes | None:
    """The body of the first handshake message, across records."""
    at, records, have, need = 0, 0, 0, 4
    parts: list[bytes] = []
    while have < need:
        if len(data) - at < 5:
            return None if _may_be_header(data[at:]) else None
        if data[at] != _HANDSHAKE or data[at + 1] != 3:
            raise WireError("not a TLS handshake record")
        size = int.from_bytes(data[at + 3 : at + 5], "big")
        records += 1
        if not 0 < size <= _MAX_RECORD or records > MAX_RECORDS:
            raise WireError(f"TLS record {records} of {size} octets")
        part = data[at + 5 : at + 5 + size]
        parts.append(part)
        have += len(part)
        if need == 4 and have >= 4:
            head = b"".join(parts)[:4]
            if head[0] != _CLIENT_HELLO:
                raise WireError(f"TLS handshake message of type {head[0]}")
            need = 4 + int.from_bytes(head[1:], "big")
            if need > MAX_HELLO:
                raise WireError(f"ClientHello of {need} octets")
        if len(part) < size and have < need:
            return None
        at += 5 + size
    message = b"".join(parts)
    if len(message) > need:
        raise WireError("octets after the ClientHello in its record")
    return message[4:need]


def _may_be_header(data: bytes) -> bool:
    if data and data[0] != _HANDSHAKE or len(data) > 1 and data[1] != 3:
        raise WireError("not a TLS handshake record")
    return True


def _parse_body(body: Cursor) -> ClientHello:
    if body.uint(2) >> 8 != 3:
        raise WireError("not a TLS version")
    body.take(32)
    body.vector(1)
    if body.vector(2).remaining < 2:
        raise WireError("no cipher suites")
    body.vector(1)
    if not body.remaining:
        return ClientHello(None)
    extensions = body.vector(2)
    body.expect_end()
    seen: dict[int, Cursor] = {}
    while extensions.remaining:
        kind = extensions.uint(2)
        if kind in seen:
            raise WireError(f"extension {kind} twice")
        seen[kind] = extensions.vector(2)
    name = _parse_name(seen[_SERVER_NAME]) if _SERVER_NAME in seen else None
    alpn = _parse_alpn(seen[_ALPN]) if _ALPN in seen else ()
    return ClientHello(name, alpn, _ECH in seen)


def _parse_name(body: Cursor) -> str:
    names = body.vector(2)
    body.expect_end()
    kind, name = names.uint(1), names.vector(2)
    names.expect_end()
    if kind != _HOST_NAME:
        raise WireError(f"SNI name of type {kind}")
    raw = name.take(name.remaining)
    text = raw.decode("ascii", "replace")
    if not raw or not raw.isascii() or not text.isprintable() or " " in text:
        raise WireError("SNI name that is not printable ASCII")
    return text


def _parse_alpn(body: Cursor) -> tuple[str, ...]:
    protocols = body.vector(2)
    body.expect_end()
    found = []
    while protocols.remaining:
        protocol = protocols.vector(1)
        found.append(protocol.take(protocol.remaining).decode("latin-1"))
    return tuple(found)
