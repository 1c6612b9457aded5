"""What the first bytes of a connection are, and which name they carry.

TLS and HTTP say which host they are for; everything else is opaque and is judged by what
the devbox was told about the address. So a client gains if the gateway takes for opaque
what a server takes for HTTP. The question here is therefore not "is this HTTP?" but "could
any server read it as HTTP?": what could, and leaves a doubt, is refused. TLS likewise.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from stockade.errors import WireError
from stockade.wire.http1_head import MAX_HEAD, RequestHead, parse_request_head
from stockade.wire.tls import ClientHello, parse_client_hello

#: After so many octets without an answer there will be none: more than any head or hello.
MAX_SNIFF = MAX_HEAD + 1

# A handshake, and the other record types: Go reads on after a warning (an alert), TLS 1.3
# has changes of cipher ignored, and nobody knows them all.
_TLS_RECORDS = range(20, 25)
_TLS_MAJOR = 3
# Go reads a first record of any version below this (and OpenSSL of 3.x only).
_ABOVE_TLS = 0x10
# The first octet of a hello in the format of SSL 2 that is not absurdly long.
_SSL2 = range(0x80, 0xC0)

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"  # RFC 9113 section 3.4
_PROXY2 = b"\r\n\r\n\0"  # what the binary PROXY header begins with

# White space, as generously as any server reads it: Python's http.server splits a request
# line at each of these, and many skip empty lines before it.
_SPACE = rb" \t\v\f\x1c-\x1f\x85\xa0"
_BLANK = b" \t\r\n\v\f\x1c\x1d\x1e\x1f\x85\xa0"
_TEXT_START = frozenset(
    b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    + _BLANK
)
# A line ends with LF; with CR alone, as a few parsers have it; and at an octet that is no
# text, which is looked for where a protocol that is none would have one.
_LINE_END = re.compile(rb"[\n\x00-\x08\x0e-\x1b\x7f]|\r(?=[^\n])")
_TEXT_LOOKED_AT = 1_024
# What a server may read as a request without a version, as one that is broken further on,
# or as the line before a request (the PROXY header). Node reads any method without a
# version, with a URL of any scheme; Python any target, even a control character.
# `CONNECT {` is how NATS begins.
_METHOD = rb"[A-Z][A-Z_-]{2,31}"
_TARGET = rb"/|\*|[A-Za-z][A-Za-z0-9+.-]*:/|(?i:https?:)"
_REQUEST = re.compile(
    rb"(?:GET|HEAD|POST|PUT|PATCH|DELETE)[%(s)s]|CONNECT[%(s)s]+[^{]|PROXY "
    rb"|%(m)s[%(s)s]+(?:%(t)s)" % {b"s": _SPACE, b"m": _METHOD, b"t": _TARGET}
)
# To Python, CR may stand between the parts of a request line too.
_METHOD_ALONE = re.compile(rb"%(m)s(?:[%(s)s]|\Z)" % {b"s": _SPACE, b"m": _METHOD})
# Node and HAProxy take the last two as well.
_VERSIONS = (b"http/", b"rtsp/", b" ice/")


class Protocol(StrEnum):
    """What a client speaks, as far as it matters for finding a name."""

    TLS = "tls"
    HTTP = "http"
    H2C = "h2c"
    OPAQUE = "opaque"


class SniffError(WireError):
    """First bytes that some server may read as *protocol*, and that leave a doubt."""

    def __init__(self, message: str, protocol: Protocol) -> None:
        self.protocol = protocol
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Sniffed:
    """The protocol; and, where it has one, the name it carries, as sent."""

    protocol: Protocol
    name: str | None
    hello: ClientHello | None
    head: RequestHead | None


_OPAQUE = Sniffed(Protocol.OPAQUE, None, None, None)
_H2C = Sniffed(Protocol.H2C, None, None, None)


def sniff(data: bytes) -> Sniffed | None:
    """Say what *data* begins; None while that is not clear. Raises `SniffError`.

    1. a TLS record, or a hello in the format of SSL 2, which some servers take: TLS
    2. the preface of HTTP/2: h2c
    3. an octet that no request line begins with: opaque
    4. a first line that a server may read as a request line: HTTP
    5. any other first line: opaque

    Limits: `MAX_HEAD` octets of text, 1 KiB of white space before it; else those of the
    parsers.
    """
    if not data:
        return None
    first = data[0]
    if first in _TLS_RECORDS:
        return _sniff_tls(data)
    if first in _SSL2 and (found := _sniff_ssl2(data)) is not _OPAQUE:
        return found
    if first not in _TEXT_START:
        return _OPAQUE
    if data.startswith(_PREFACE):
        return _H2C
    if _PREFACE.startswith(data):
        return None
    return _sniff_text(data)


def _sniff_tls(data: bytes) -> Sniffed | None:
    if len(data) == 1:
        return None
    if data[1] != _TLS_MAJOR:
        return _sniff_odd_tls(data)
    try:
        hello = parse_client_hello(data)
    except WireError as error:
        raise SniffError(str(error), Protocol.TLS) from None
    if hello is None:
        return None
    return Sniffed(Protocol.TLS, hello.server_name, hello, None)


def _sniff_odd_tls(data: bytes) -> Sniffed | None:
    """What begins like a record of TLS, but for its version.

    Only a hello or an alert, which Go would read, leaves a doubt: messages that begin with
    their length, as those of MongoDB and MySQL, look like this now and then.
    """
    if data[1] >= _ABOVE_TLS:
        return _OPAQUE
    if len(data) < 6:
        return None
    kind, size, payload = data[0], data[3] << 8 | data[4], data[5]
    if (kind == 22 and size and payload == 1) or (
        kind == 21 and size == 2 and payload in (1, 2)
    ):
        raise SniffError(f"a TLS record of version {data[1]}.x", Protocol.TLS)
    return _OPAQUE


def _sniff_ssl2(data: bytes) -> Sniffed | None:
    """A hello of version 3.x in the format of SSL 2 (RFC 5246 appendix E.2).

    It has no extensions, so it is TLS without a name.
    """
    mark = data[2:4]
    if mark == b"\x01\x03":
        return Sniffed(Protocol.TLS, None, ClientHello(None), None)
    return None if b"\x01\x03".startswith(mark) else _OPAQUE


def _sniff_text(data: bytes) -> Sniffed | None:
    if data.startswith(_PROXY2):
        raise SniffError("a PROXY header before the client's bytes", Protocol.HTTP)
    start = data[:_TEXT_LOOKED_AT]
    blank = len(start) - len(start.lstrip(_BLANK))
    if blank == _TEXT_LOOKED_AT:
        raise SniffError(f"{blank} octets of white space", Protocol.HTTP)
    text = data[blank:]
    end = _line_end(text)
    if end is None:
        if len(data) < MAX_HEAD:
            return None
        raise SniffError(f"no line end in {MAX_HEAD} octets of text", Protocol.HTTP)
    if not _is_request(text[:end], text[end]):
        return _OPAQUE
    if blank:
        raise SniffError("white space before an HTTP request", Protocol.HTTP)
    if text[end] not in b"\r\n":
        raise SniffError("a control character in an HTTP request line", Protocol.HTTP)
    try:
        head = parse_request_head(data)
    except WireError as error:
        raise SniffError(str(error), Protocol.HTTP) from None
    if head is None:
        return None
    return Sniffed(Protocol.HTTP, head.host, None, head)


def _is_request(line: bytes, end: int) -> bool:
    """Whether any server may read *line* as the first of a request. *end* ends it."""
    if _REQUEST.match(line):
        return True
    lowered = line.lower()
    if any(version in lowered for version in _VERSIONS):
        return True
    return end == ord("\r") and _METHOD_ALONE.match(line) is not None


def _line_end(text: bytes) -> int | None:
    """Where the first line of *text* ends; None while it may go on.

    Beyond the first KiB only line ends count, so that a line which arrives octet by octet
    costs no more than a search in C each time.
    """
    found = _LINE_END.search(text, 0, _TEXT_LOOKED_AT)
    if found is not None:
        return found.start()
    feed = text.find(b"\n", _TEXT_LOOKED_AT)
    alone = text.find(b"\r", _TEXT_LOOKED_AT - 1, len(text) - 1)
    return min((end for end in (feed, alone) if end >= 0), default=None)
