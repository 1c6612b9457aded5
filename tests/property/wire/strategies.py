"""Hostile bytes: random ones, damaged messages, and valid ones with hostile fields."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

from stockade.errors import WireError
from tests.unit.wire.builders import (
    alpn,
    extension,
    head,
    message,
    records,
    sni,
    vector,
)

#: Enough to have found every planted fault, in a second or two for each law.
law = settings(max_examples=150, deadline=None)

Draw = Callable[[st.SearchStrategy[Any]], Any]
ERROR = "error"


def outcome(parse: Callable[[bytes], object], data: bytes) -> Any:
    """What a parser makes of *data*: a value, None, or `ERROR`."""
    try:
        return parse(data)
    except WireError:
        return ERROR


@st.composite
def damaged(draw: Draw, valid: st.SearchStrategy[bytes]) -> bytes:
    """A message with up to four octets or slices changed, removed, added or repeated."""
    data = bytearray(draw(valid))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        to = draw(st.integers(at, min(at + 9, len(data))))
        match draw(st.sampled_from("set flip cut insert repeat move end".split())):
            case "set":
                data[at:to] = draw(st.binary(min_size=to - at, max_size=to - at))
            case "flip" if data:
                data[at] ^= 1 << draw(st.integers(0, 7))
            case "cut":
                del data[at:to]
            case "insert":
                data[at:at] = draw(st.binary(max_size=9))
            case "repeat":
                data[at:at] = data[at:to]
            case "move":
                data += data[at:to]
            case "end":
                del data[at:]
    return bytes(data)


NAMES = st.one_of(
    st.sampled_from(
        [b"a.test", b"d.test", b"x.w.test.", b"d.test\0.a.test", b"", b"[::1]"]
    ),
    st.binary(max_size=20),
)
EXTENSIONS = st.one_of(
    NAMES.map(sni),
    st.builds(
        lambda kind, name: extension(0, vector(2, bytes([kind]) + vector(2, name))),
        st.integers(0, 2),
        NAMES,
    ),
    st.binary(max_size=12).map(lambda body: extension(0, body)),
    st.lists(st.binary(max_size=9), max_size=3).map(lambda names: alpn(*names)),
    st.builds(
        extension, st.sampled_from([10, 13, 16, 43, 51, 0xFE0D]), st.binary(max_size=30)
    ),
    st.binary(max_size=6),
)


@st.composite
def hellos(draw: Draw) -> bytes:
    """A ClientHello with hostile fields, in records of any size."""
    handshake = message(
        draw(st.none() | st.lists(EXTENSIONS, max_size=5)),
        session=draw(st.binary(max_size=34)),
        suites=draw(st.just(b"\x13\x01") | st.binary(max_size=5)),
        trailing=draw(st.just(b"") | st.binary(max_size=3)),
    )
    return records(handshake, draw(st.lists(st.integers(1, 80), max_size=9)))


LINES = st.sampled_from(
    """GET / HTTP/1.1|POST / HTTP/1.1|GET / HTTP/1.0|GET http://a.test/ HTTP/1.1|OPTIONS *
    HTTP/1.1|CONNECT a.test:443 HTTP/1.1|GET http://d.test HTTP/1.1|PUT //d.test HTTP/1.1|
    GET / HTTP/2.0|GET /|get / http/1.1|EHLO box|PRI * HTTP/2.0""".replace(
        "\n    ", " "
    ).split("|")
)
GOOD_FIELDS = st.sampled_from(
    "Content-Length: 5|Transfer-Encoding: chunked|Connection: close|Upgrade: x|X: y|X:\t"
    "|Connection: keep-alive, Upgrade|Expect: 100-continue|Cookie: \xe9=\xff; x".split(
        "|"
    )
)
FIELDS = st.one_of(
    GOOD_FIELDS,
    st.sampled_from(
        "Host: d.test|host:a.test|Host : d.test| Host: d.test|Host: a.test:80|Host:"
        "|Content-Length: 5|Content-Length: 05|Content-Length: 5, 5|content-length: 7"
        "|Transfer-Encoding: chunked|Transfer-Encoding: gzip, chunked|Connection: close"
        "|Transfer-Encoding : chunked|Connection: upgrade, x|Upgrade: websocket"
        "|Upgrade: h2c, x|Connection: Host|Expect: 100-continue|Expect: x|X: \0|X: \xff"
        "|X: \x0b|\tfolded|X\nHost: d.test|X: y\rHost: d.test|: x|X".split("|")
    ),
    st.text(alphabet=st.characters(max_codepoint=255), max_size=12),
)


@st.composite
def heads(draw: Draw) -> bytes:
    """A request head with hostile fields; about half of them are in order."""
    fields = draw(st.lists(FIELDS, max_size=3))
    host = draw(st.sampled_from(["a.test", "a.test", "A.Test:80", "a.test:443", None]))
    return head(*fields, line=draw(LINES), host=host)


@st.composite
def requests(draw: Draw) -> bytes:
    """Several requests with bodies on one connection, most of them in order."""
    out = b""
    for _ in range(draw(st.integers(1, 4))):
        body = draw(st.binary(max_size=20))
        match draw(st.sampled_from("none length chunked hostile".split())):
            case "none":
                out += head()
            case "length":
                out += head(f"Content-Length: {len(body)}") + body
            case "chunked":
                out += head("Transfer-Encoding: chunked") + chunks(draw, body)
            case "hostile":
                out += draw(heads()) + body
    return out


def chunks(draw: Draw, body: bytes) -> bytes:
    out, at = b"", 0
    while at < len(body):
        size = draw(st.integers(1, len(body) - at))
        digits = draw(st.sampled_from(["%x", "%X", "%03x"])) % size
        out += digits.encode() + b"\r\n" + body[at : at + size] + b"\r\n"
        at += size
    return out + b"0\r\n\r\n"


@st.composite
def split(draw: Draw, valid: st.SearchStrategy[bytes]) -> list[bytes]:
    """The bytes of *valid*, cut at any places."""
    data = draw(valid)
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=8)))
    ends = [*cuts, len(data)]
    return [data[start:end] for start, end in zip([0, *cuts], ends, strict=True)]
