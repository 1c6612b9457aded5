"""The ClientHello as OpenSSL reads it: the same name as we read, or we refuse."""

from __future__ import annotations

import functools
import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stockade.wire.tls import ClientHello, parse_client_hello
from tests.property.wire.strategies import ERROR, Draw, damaged, hellos, law, outcome
from tests.unit.wire.builders import extension, openssl_hello, records, sni

UNKNOWN = 0x1234
NAMES = st.sampled_from([None, "a.test", "d.test", "x.y.w.test"])


@functools.cache
def handshake(name: str | None) -> bytes:
    """The handshake message of a hello that OpenSSL sends: one record, without header."""
    data = openssl_hello(name, ["h2", "http/1.1"])
    assert int.from_bytes(data[3:5], "big") == len(data) - 5
    return data[5:]


def openssl_reads(data: bytes) -> tuple[str | None] | None:
    """The name that an OpenSSL server reads, in a tuple; None if it gets no further."""
    names: list[str | None] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.sni_callback = lambda _socket, name, _context: names.append(name)
    incoming = ssl.MemoryBIO()
    server = context.wrap_bio(incoming, ssl.MemoryBIO(), server_side=True)
    incoming.write(data)
    try:
        server.do_handshake()
    except (ssl.SSLError, UnicodeError):
        pass
    return (names[0],) if names else None


@st.composite
def real_hellos(draw: Draw) -> bytes:
    """A hello of OpenSSL, with or without damage, an extra extension, and many records."""
    data = handshake(draw(NAMES))
    more = draw(st.sampled_from([b"", extension(UNKNOWN, bytes(700)), sni(b"d.test")]))
    data = grown(data, more)
    if draw(st.booleans()):
        data = draw(damaged(st.just(data)))
    return records(data, draw(st.lists(st.integers(1, 400), max_size=5)))


def grown(data: bytes, extension: bytes) -> bytes:
    """A hello with one more extension at its end."""
    at = 4 + 2 + 32
    at += 1 + data[at]
    at += 2 + int.from_bytes(data[at : at + 2], "big")
    at += 1 + data[at]
    size = int.from_bytes(data[at : at + 2], "big") + len(extension)
    body = data[4:at] + size.to_bytes(2, "big") + data[at + 2 :] + extension
    return data[:1] + len(body).to_bytes(3, "big") + body


def test_the_oracle_reads_names() -> None:
    assert openssl_reads(records(handshake("a.test"))) == ("a.test",)
    assert openssl_reads(records(handshake("a.test"), [100])) == ("a.test",)
    assert openssl_reads(records(handshake(None))) == (None,)
    assert openssl_reads(records(handshake("a.test"))[:-1]) is None


# A name that is not ASCII fails on its way to the callback, outside of any `try`.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@law
@given(data=real_hellos() | damaged(real_hellos()) | damaged(hellos()))
def test_openssl_never_reads_another_name(data) -> None:
    theirs = openssl_reads(data)
    ours = outcome(parse_client_hello, data)
    if theirs is not None and ours is not ERROR:
        assert ours is not None, "OpenSSL has a whole hello where we wait for more"
        assert (ours.server_name,) == theirs


@law
@given(
    name=NAMES,
    sizes=st.lists(st.integers(100, 400), max_size=5),
    size=st.integers(0, 9_000),
)
def test_what_openssl_sends_is_read(name, sizes, size) -> None:
    """Also where key shares make it several segments long."""
    data = records(grown(handshake(name), extension(UNKNOWN, bytes(size))), sizes)
    assert openssl_reads(data) == (name,)
    assert parse_client_hello(data) == ClientHello(name, ("h2", "http/1.1"))
