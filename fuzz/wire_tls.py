"""The ClientHello beside OpenSSL: the same name, or we refuse."""

from __future__ import annotations

from collections.abc import Callable

from fuzz.oracles import MIN_HELLO, openssl_name
from fuzz.target import Target, chance, expect
from stockade.errors import WireError
from stockade.wire.tls import ClientHello, parse_client_hello
from tests.unit.wire.builders import (
    alpn,
    extension,
    message,
    openssl_hello,
    records,
    sni,
    vector,
)

Parse = Callable[[bytes], ClientHello | None]


def check_hello(data: bytes, parse: Parse = parse_client_hello) -> None:
    """What we read, OpenSSL reads; and an answer is never taken back."""
    try:
        hello = parse(data)
    except WireError:
        return
    if hello is not None:
        _expect_stable(data, hello, parse)
        name = hello.server_name
        expect(name is None or (name and name.isascii()), "name", name)
    if len(data) < MIN_HELLO:
        return
    theirs = openssl_name(data)
    if theirs is not None:
        expect(hello is not None, "OpenSSL has a whole hello where we wait", theirs)
        expect(hello and theirs == (hello.server_name,), "names", theirs, hello)


def _expect_stable(data: bytes, hello: ClientHello, parse: Parse) -> None:
    """More octets change nothing, and fewer give no other answer."""
    expect(parse(data + b"\x15\3\3\0\2\2\x31") == hello, "an answer taken back")
    part = data[: chance(data, len(data))]
    expect(parse(part) in (None, hello), "another answer to a part of it", part)


def _records(data: bytes, *sizes: int) -> bytes:
    return records(data[5:], sizes)


_HELLO = openssl_hello("a.test", ["h2", "http/1.1"])

HELLO = Target(
    "tls_hello",
    check_hello,
    (
        _HELLO,
        openssl_hello("x.w.test"),
        openssl_hello(None),
        _records(_HELLO, 100),
        _records(_HELLO, 1, 3, 2, 200),
        records(message([sni(b"a.test")])),
        records(message([sni(b"a.test"), alpn(b"h2"), extension(0xFE0D, bytes(20))])),
        records(message([extension(0, vector(2, b"\0" + vector(2, b"a.test") * 2))])),
        records(message(None)),
        records(message([extension(0, b"")])),
        records(message([sni(b"a.test"), sni(b"d.test")])),
        records(message([extension(0xFAFA, bytes(1_800)), sni(b"a.test")])),
    ),
    (
        sni(b"d.test"),
        sni(b"a.test"),
        alpn(b"h2"),
        b"\x16\3\1",
        b"\x16\3\3\0\1",
        b"\0\0\0\x0b\0\x09\0\0\6",
        b"d.test",
        b"\0\x0d\0\4\0\2\4\3",
        b"\0\x2b\0\3\2\3\4",
        b"\0\x0a\0\4\0\2\0\x1d",
        b"\x13\1",
        b"\xfe\x0d",
    ),
    max_len=4_096,
    cost=4,
)
