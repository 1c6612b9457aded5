"""ClientHellos that are OpenSSL's own but for what a test changes in them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from tests.attacks.builders import hello

SERVER_NAME, ALPN, SUPPORTED_VERSIONS, GREASE, ECH = 0, 16, 43, 0x1A1A, 0xFE0D

Extensions = list[tuple[int, bytes]]
Edit = Callable[[Extensions], Extensions]


def vector(size: int, body: bytes) -> bytes:
    """A field with its length in *size* octets before it."""
    return len(body).to_bytes(size, "big") + body


def record(payload: bytes, kind: int = 22, version: int = 0x0301) -> bytes:
    """One TLS record."""
    return bytes((kind,)) + version.to_bytes(2, "big") + vector(2, payload)


def handshake(
    server_name: str | None, edit: Edit = lambda found: found, version: int = 0x0303
) -> bytes:
    """The message of a ClientHello, its extensions changed by *edit*."""
    whole = hello(server_name)[5:]
    body = whole[4:]
    at = 2 + 32
    at += 1 + body[at]
    at += 2 + int.from_bytes(body[at : at + 2], "big")
    at += 1 + body[at]
    found: Extensions = []
    rest = body[at + 2 :]
    while rest:
        kind, size = int.from_bytes(rest[:2], "big"), int.from_bytes(rest[2:4], "big")
        found.append((kind, rest[4 : 4 + size]))
        rest = rest[4 + size :]
    block = b"".join(k.to_bytes(2, "big") + vector(2, body) for k, body in edit(found))
    changed = version.to_bytes(2, "big") + body[2:at] + vector(2, block)
    return b"\x01" + vector(3, changed)


def edited(server_name: str | None, edit: Edit) -> bytes:
    """The same in one record."""
    return record(handshake(server_name, edit))


def name_list(*names: bytes, kind: int = 0) -> bytes:
    """The body of a server name extension with these names."""
    return vector(2, b"".join(bytes((kind,)) + vector(2, name) for name in names))


def with_body(found: Extensions, kind: int, body: bytes) -> Extensions:
    """*found* with another body for the extension *kind*."""
    return [(k, body if k == kind else old) for k, old in found]


def naming(*names: bytes, kind: int = 0) -> Edit:
    """An edit that puts these into the server name extension, whatever they are."""
    return lambda found: with_body(found, SERVER_NAME, name_list(*names, kind=kind))


def adding(*more: tuple[int, bytes]) -> Edit:
    """An edit that puts extensions first, where a reader meets them early."""
    return lambda found: [*more, *found]


def without(kinds: Iterable[int]) -> Edit:
    """An edit that takes extensions out."""
    gone = set(kinds)
    return lambda found: [pair for pair in found if pair[0] not in gone]
