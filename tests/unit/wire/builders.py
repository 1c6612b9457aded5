"""Bytes from words: the messages that the tests of the wire parsers begin with."""

from __future__ import annotations

import ssl
import struct
from collections.abc import Iterable, Sequence

SERVER_NAME, ALPN, KEY_SHARE, PADDING, ECH = 0, 16, 51, 21, 0xFE0D


def vector(size: int, body: bytes) -> bytes:
    """A TLS field with its length in *size* octets before it."""
    return len(body).to_bytes(size, "big") + body


def extension(kind: int, body: bytes) -> bytes:
    return kind.to_bytes(2, "big") + vector(2, body)


def sni(name: bytes) -> bytes:
    """The server name extension, with one host name."""
    return extension(SERVER_NAME, vector(2, b"\0" + vector(2, name)))


def alpn(*protocols: bytes) -> bytes:
    return extension(ALPN, vector(2, b"".join(vector(1, p) for p in protocols)))


def padding(size: int) -> bytes:
    return extension(PADDING, bytes(size))


def message(
    extensions: Iterable[bytes] | None = (),
    *,
    version: bytes = b"\3\3",
    session: bytes = bytes(32),
    suites: bytes = b"\x13\x01\x13\x02",
    compression: bytes = b"\0",
    trailing: bytes = b"",
    kind: int = 1,
) -> bytes:
    """A ClientHello as a handshake message; *extensions* None leaves the field out."""
    body = version + bytes(range(32)) + vector(1, session) + vector(2, suites)
    body += vector(1, compression)
    if extensions is not None:
        body += vector(2, b"".join(extensions))
    return bytes([kind]) + vector(3, body + trailing)


def records(
    handshake: bytes, sizes: Sequence[int] = (), *, version: int = 0x0301
) -> bytes:
    """*handshake* in records of the given *sizes*, the last of them repeated."""
    out, at = b"", 0
    left = list(sizes) or [len(handshake)]
    while at < len(handshake):
        size = left.pop(0) if len(left) > 1 else left[0]
        piece = handshake[at : at + size]
        out += struct.pack("!BHH", 22, version, len(piece)) + piece
        at += size
    return out


def hello(name: bytes | None = b"a.test", *more: bytes) -> bytes:
    """A ClientHello in one record, with a server name and *more* extensions."""
    return records(message([*([] if name is None else [sni(name)]), *more]))


def openssl_hello(name: str | None, protocols: Sequence[str] = ()) -> bytes:
    """The first bytes that OpenSSL sends for *name*."""
    context = ssl.create_default_context()
    context.check_hostname = name is not None
    if protocols:
        context.set_alpn_protocols(list(protocols))
    outgoing = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    try:
        client.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()


def head(
    *fields: str, line: str = "GET / HTTP/1.1", host: str | None = "a.test"
) -> bytes:
    """A request head; *host* None leaves that field out."""
    named = [] if host is None else [f"Host: {host}"]
    return "\r\n".join([line, *named, *fields, "", ""]).encode("latin-1")
