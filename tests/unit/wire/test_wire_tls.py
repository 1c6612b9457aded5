"""The ClientHello: what is read from it, and all that is refused."""

from __future__ import annotations

import pytest

from stockade.errors import WireError
from stockade.wire.tls import (
    MAX_EXTENSIONS,
    MAX_HELLO,
    MAX_RECORDS,
    ClientHello,
    access_denied_alert,
    parse_client_hello,
)
from tests.unit.wire.builders import (
    ECH,
    KEY_SHARE,
    SERVER_NAME,
    alpn,
    extension,
    hello,
    message,
    openssl_hello,
    padding,
    records,
    sni,
    vector,
)


def hello_of(size: int) -> bytes:
    """A handshake message of exactly *size* octets, with the name a.test."""
    base = len(message([sni(b"a.test"), padding(0)]))
    return message([sni(b"a.test"), padding(size - base)])


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(hello(b"a.test"), ClientHello("a.test"), id="a name"),
        pytest.param(
            hello(b"A.tEst."), ClientHello("A.tEst."), id="a name stays as sent"
        ),
        pytest.param(hello(None), ClientHello(None), id="no server name extension"),
        pytest.param(
            records(message(None)), ClientHello(None), id="no extensions field at all"
        ),
        pytest.param(
            hello(b"a.test", alpn(b"h2", b"http/1.1")),
            ClientHello("a.test", ("h2", "http/1.1")),
            id="application protocols in order",
        ),
        pytest.param(
            hello(b"a.test", alpn(b"\x0a\x0a")),
            ClientHello("a.test", ("\n\n",)),
            id="application protocols that are no text",
        ),
        pytest.param(
            hello(b"a.test", extension(ECH, b"\0" * 200)),
            ClientHello("a.test", has_ech=True),
            id="an encrypted hello is seen, and the outer name read",
        ),
        pytest.param(
            hello(b"a.test", extension(KEY_SHARE, bytes(1_216 + 36))),
            ClientHello("a.test"),
            id="a post-quantum key share",
        ),
        pytest.param(
            records(message([sni(b"a.test")], session=b"", suites=b"\0\x2f")),
            ClientHello("a.test"),
            id="no session id",
        ),
        pytest.param(
            records(message([sni(b"a.test")]), version=0x0303),
            ClientHello("a.test"),
            id="records of version 1.2",
        ),
        pytest.param(
            records(message([sni(b"a.test")]), [1]),
            ClientHello("a.test"),
            id="records of one octet",
        ),
        pytest.param(
            records(message([sni(b"a.test"), padding(2_000)]), [1_400]),
            ClientHello("a.test"),
            id="records of a segment",
        ),
        pytest.param(
            records(hello_of(15_900)), ClientHello("a.test"), id="15.9 thousand octets"
        ),
        pytest.param(
            records(hello_of(MAX_HELLO)), ClientHello("a.test"), id="the largest hello"
        ),
    ],
)
def test_a_hello_is_read(data, expected) -> None:
    assert parse_client_hello(data) == expected
    assert parse_client_hello(data + b"\x14\x03\x03\0\1\1") == expected
    assert parse_client_hello(data[:-1]) is None


def name_list(*entries: bytes) -> bytes:
    return records(message([extension(SERVER_NAME, vector(2, b"".join(entries)))]))


A_NAME = b"\0" + vector(2, b"a.test")


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(hello(b"a.test", sni(b"a.test")), id="the same name twice"),
        pytest.param(hello(b"a.test", sni(b"d.test")), id="two names"),
        pytest.param(
            hello(b"a.test", padding(1), padding(1)), id="any extension twice"
        ),
        pytest.param(name_list(A_NAME, A_NAME), id="two names in one extension"),
        pytest.param(name_list(), id="an empty list of names"),
        pytest.param(
            records(message([extension(SERVER_NAME, b"")])), id="an empty extension"
        ),
        pytest.param(
            name_list(b"\1" + vector(2, b"a.test")), id="a name of another type"
        ),
        pytest.param(
            records(message([extension(SERVER_NAME, vector(2, A_NAME) + b"\0")])),
            id="octets after the list of names",
        ),
        pytest.param(hello(b""), id="an empty name"),
        pytest.param(hello(b"d.test\0.a.test"), id="a NUL in the name"),
        pytest.param(hello(b"a.test\n"), id="a line feed after the name"),
        pytest.param(hello(b"a test"), id="a space in the name"),
        pytest.param(hello(b"[::1]"), id="an address literal"),
        pytest.param(hello(b"a.test:443"), id="a port"),
        pytest.param(hello("bücher.test".encode()), id="a name that is not ASCII"),
        pytest.param(hello(b"\xe2\x84\xaa.test"), id="a sign that folds to a letter"),
        pytest.param(hello(b"a" * 256), id="a name of 256 octets"),
        pytest.param(hello(b"a.test", alpn()), id="no application protocol"),
        pytest.param(hello(b"a.test", alpn(b"")), id="an empty application protocol"),
        pytest.param(
            records(message([sni(b"a.test")], trailing=b"\0")),
            id="octets after the extensions",
        ),
        pytest.param(
            records(message([sni(b"a.test"), b"\0"])), id="half an extension at the end"
        ),
        pytest.param(
            records(message([sni(b"a.test")]) + b"\0"), id="octets after the hello"
        ),
        pytest.param(
            records(message([sni(b"a.test")], version=b"\2\0")), id="SSL 2 inside"
        ),
        pytest.param(
            records(message([sni(b"a.test")], session=bytes(33))),
            id="a long session id",
        ),
        pytest.param(records(message([sni(b"a.test")], suites=b"")), id="no suites"),
        pytest.param(
            records(message([sni(b"a.test")], suites=b"abc")), id="half a suite"
        ),
        pytest.param(
            records(message([sni(b"a.test")], compression=b"")), id="no compression"
        ),
        pytest.param(records(message([sni(b"a.test")], kind=2)), id="a ServerHello"),
        pytest.param(records(hello_of(MAX_HELLO + 1)), id="one octet too many"),
        pytest.param(
            records(hello_of(17_000), [4_000]), id="seventeen thousand octets"
        ),
        pytest.param(
            hello(
                b"a.test", *(extension(1_000 + n, b"") for n in range(MAX_EXTENSIONS))
            ),
            id="too many extensions",
        ),
        pytest.param(b"\x16\x03\x01\0\0" + hello(), id="an empty record"),
        pytest.param(b"\x16\x02\x01\0\5hello", id="records of version 2"),
        pytest.param(b"\x16\x03\x01\x40\x01", id="a record of more than 16 KiB"),
        pytest.param(
            b"\x15\x03\x01\0\2\1\0" + hello(), id="a warning before the hello"
        ),
        pytest.param(
            records(message([sni(b"a.test")]), [20])[:25]
            + b"\x15\x03\x01\0\2\1\0"
            + records(message([sni(b"a.test")])[20:]),
            id="a warning inside the hello",
        ),
        pytest.param(
            records(message([sni(b"a.test"), padding(MAX_RECORDS)]), [1]),
            id="too many records",
        ),
    ],
)
def test_a_doubt_is_an_error(data) -> None:
    with pytest.raises(WireError):
        parse_client_hello(data)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\x16\x03\x01\x00\x00", id="an empty record, by its header"),
        pytest.param(b"\x16\x03\x01\x02\x00\x02", id="a ServerHello, by one octet"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x01\0\0", id="a hello of 64 KiB"),
        pytest.param(
            b"\x16\x03\x01\x02\x00" + message([])[:4],
            id="a record longer than the hello",
        ),
    ],
)
def test_what_cannot_become_right_is_refused_early(data) -> None:
    with pytest.raises(WireError):
        parse_client_hello(data)


@pytest.mark.parametrize("sizes", [[], [1], [3, 1, 40], [9, 5, 9]])
def test_every_part_of_a_hello_asks_for_more(sizes) -> None:
    data = records(message([sni(b"a.test")]), sizes)
    assert [parse_client_hello(data[:size]) for size in range(len(data))] == [
        None
    ] * len(data)


@pytest.mark.parametrize("name", ["a.test", None])
def test_the_hello_of_openssl_is_read(name) -> None:
    found = parse_client_hello(openssl_hello(name, ["h2", "http/1.1"]))
    assert found == ClientHello(name, ("h2", "http/1.1"))


def test_the_alert_is_what_the_standard_says() -> None:
    alert, level_fatal, access_denied = 21, 2, 49
    expected = bytes([alert, 3, 3, 0, 2, level_fatal, access_denied])
    assert access_denied_alert() == expected
