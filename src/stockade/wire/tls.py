"""TLS: the first message of a client, and the one alert we send.

RFC 8446 and RFC 5246 (records, ClientHello), RFC 6066 section 3 (server name), RFC 7301
(ALPN). One ClientHello may span many TCP segments and many records; with post-quantum key
shares it is larger than a segment as a rule.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from stockade.errors import WireError
from stockade.wire.cursor import Cursor

#: The largest ClientHello, in octets of its handshake message with header.
MAX_HELLO = 16_384
#: The most records it may be spread over. Real clients need one, or two.
MAX_RECORDS = 128
#: The most extensions in it. Real clients send about twenty.
MAX_EXTENSIONS = 128

_RECORD_HEADER = 5
_MAX_RECORD = 16_384  # RFC 8446 section 5.1: of plaintext
_MESSAGE_HEADER = 4
_HANDSHAKE = 22
_CLIENT_HELLO = 1
_MAX_SESSION_ID = 32
_SERVER_NAME = 0
_ALPN = 16
_ECH = 0xFE0D
_HOST_NAME = 0

# The name is compared with policy, printed and logged; nothing else is a DNS name.
_NAME = re.compile(rb"[A-Za-z0-9._-]{1,255}")


@dataclass(frozen=True, slots=True)
class ClientHello:
    """What a client says first.

    *server_name* is as sent; None means that there is no such extension. *alpn* holds
    latin-1 text, since protocol ids are octets. *has_ech*: the server may be told another
    name inside an encrypted hello (or the client only pretends so: browsers do).
    """

    server_name: str | None
    alpn: tuple[str, ...] = ()
    has_ech: bool = False


def access_denied_alert() -> bytes:
    """A fatal `access_denied` alert (RFC 8446 section 6.2)."""
    return b"\x15\x03\x03\x00\x02\x02\x31"


def parse_client_hello(data: bytes) -> ClientHello | None:
    """Read a ClientHello that may span records; None while it is not complete.

    RFC 8446 sections 4.1.2 and 5.1. Limits: `MAX_HELLO` octets, `MAX_RECORDS` records.
    What follows its last record is not looked at.
    """
    spans = _spans(data)
    if spans is None:
        return None
    body = Cursor(b"".join([data[start:end] for start, end in spans]))
    body.take(_MESSAGE_HEADER)
    return _parse_body(body)


def _spans(data: bytes) -> list[tuple[int, int]] | None:
    """Where the pieces of the first handshake message are; None while one is missing.

    Only headers are read here, so that a hello which arrives octet by octet costs a few
    steps a record each time and is joined once.
    """
    spans: list[tuple[int, int]] = []
    at = claimed = 0
    need: int | None = None
    while True:
        end = _record_end(data, at)
        if end is None:
            return None
        if len(spans) == MAX_RECORDS:
            raise WireError(f"a ClientHello in more than {MAX_RECORDS} TLS records")
        spans.append((at + _RECORD_HEADER, end))
        claimed += end - at - _RECORD_HEADER
        if need is None:
            need = _message_size(data, spans)
        # A message of our size and a record of another: a server might read on.
        if need is not None and claimed > need:
            raise WireError("a TLS record that does not end with the ClientHello")
        if len(data) < end:
            return None
        if claimed == need:
            return spans
        at = end


def _record_end(data: bytes, at: int) -> int | None:
    """Where the record that begins at *at* ends; None while its header is incomplete."""
    header = data[at : at + _RECORD_HEADER]
    # The version is 3.x by any client that servers still talk to (RFC 8446 section 5.1);
    # an alert or a cipher change before the hello is complete is an attack.
    if header and header[0] != _HANDSHAKE:
        raise WireError(f"a TLS record of type {header[0]} instead of a handshake")
    if len(header) > 1 and header[1] != 3:
        raise WireError(f"a TLS record of version {header[1]}.x")
    if len(header) < _RECORD_HEADER:
        return None
    size = header[3] << 8 | header[4]
    if not 0 < size <= _MAX_RECORD:
        raise WireError(f"a TLS record of {size} octets")
    return at + _RECORD_HEADER + size


def _message_size(data: bytes, spans: list[tuple[int, int]]) -> int | None:
    """The size of the handshake message with its header; None while that is unknown."""
    header = b""
    for start, end in spans[:_MESSAGE_HEADER]:
        header += data[start : min(end, start + _MESSAGE_HEADER - len(header))]
    if header and header[0] != _CLIENT_HELLO:
        raise WireError(f"a TLS handshake message of type {header[0]} comes first")
    if len(header) < _MESSAGE_HEADER:
        return None
    size = _MESSAGE_HEADER + int.from_bytes(header[1:], "big")
    if size > MAX_HELLO:
        raise WireError(f"a ClientHello of {size} octets; {MAX_HELLO} are read")
    return size


def _parse_body(body: Cursor) -> ClientHello:
    """Read the ClientHello itself (RFC 8446 section 4.1.2)."""
    version = body.uint(2)
    if version >> 8 != 3:
        raise WireError(f"a ClientHello of version {version:#06x}")
    body.take(32)
    if body.vector(1).remaining > _MAX_SESSION_ID:
        raise WireError("a TLS session id of more than 32 octets")
    suites = body.vector(2).remaining
    if suites < 2 or suites % 2:
        raise WireError(f"TLS cipher suites in {suites} octets")
    if not body.vector(1).remaining:
        raise WireError("no TLS compression method, not even none")
    if not body.remaining:
        return ClientHello(None)  # RFC 5246 section 7.4.1.2: no extensions at all
    found = _extensions(body.vector(2))
    body.expect_end()
    name, alpn = found.get(_SERVER_NAME), found.get(_ALPN)
    return ClientHello(
        None if name is None else _parse_server_name(name),
        () if alpn is None else _parse_alpn(alpn),
        _ECH in found,
    )


def _extensions(extensions: Cursor) -> dict[int, Cursor]:
    """All extensions by type. A type that comes twice is two answers to one question."""
    found: dict[int, Cursor] = {}
    while extensions.remaining:
        kind = extensions.uint(2)
        if kind in found:
            raise WireError(f"TLS extension {kind} twice")
        if len(found) == MAX_EXTENSIONS:
            raise WireError(f"more than {MAX_EXTENSIONS} TLS extensions")
        found[kind] = extensions.vector(2)
    return found


def _parse_server_name(body: Cursor) -> str:
    """Read the one name of the extension (RFC 6066 section 3)."""
    names = body.vector(2)
    body.expect_end()
    kind, name = names.uint(1), names.vector(2).rest()
    names.expect_end()  # one name of each type, and there is one type
    if kind != _HOST_NAME:
        raise WireError(f"a TLS server name of type {kind}")
    if not _NAME.fullmatch(name):
        raise WireError(f"a TLS server name that is no host name: {name[:80]!r}")
    return name.decode("ascii")


def _parse_alpn(body: Cursor) -> tuple[str, ...]:
    """Read the application protocols a client offers (RFC 7301 section 3.1)."""
    protocols = body.vector(2)
    body.expect_end()
    found: list[str] = []
    while protocols.remaining:
        protocol = protocols.vector(1).rest()
        if not protocol:
            raise WireError("an empty name among the TLS application protocols")
        found.append(protocol.decode("latin-1"))
    if not found:
        raise WireError("a TLS list of application protocols without any")
    return tuple(found)
