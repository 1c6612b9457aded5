"""Reads what a client says first, until it is clear what it is.

Nothing read here is forwarded before it was judged. The budget is bytes (`MAX_SNIFF`),
pieces (one byte a segment is legal) and time.
"""

from __future__ import annotations

import asyncio
import re
import socket
from dataclasses import dataclass

from stockade.errors import WireError
from stockade.gateway.services import Limits
from stockade.gateway.sides import Side
from stockade.wire.sniff import MAX_SNIFF, Protocol, Sniffed, SniffError, sniff

_READ = 65_536
_REQUEST = re.compile(rb"[A-Z]{3,32}[ \t]")


@dataclass(frozen=True, slots=True)
class FirstBytes:
    """The bytes, and what they are.

    *sniffed* is None when the client said nothing, when it is unreadable (*problem*),
    and when it stopped before it was clear what it would say (*expired*).
    """

    data: bytes
    sniffed: Sniffed | None = None
    problem: SniffError | None = None
    eof: bool = False
    expired: bool = False


async def read_first_bytes(
    client: Side, limits: Limits, *, patient: bool
) -> FirstBytes:
    """Read until the protocol is clear, the client ends, or the budget is spent.

    A *patient* reader waits for the first byte as long as it takes: the server may be
    the one to speak first. Raises `OSError` when the client is gone.
    """
    loop = asyncio.get_running_loop()
    data = b""
    deadline = None if patient else loop.time() + limits.first_byte_timeout
    for _ in range(limits.sniff_pieces):
        try:
            chunk = await _receive(client, deadline)
        except TimeoutError:
            return FirstBytes(data, expired=True)
        if not chunk:
            return _at_end(data)
        if not data:
            deadline = loop.time() + limits.sniff_timeout
        data += chunk
        try:
            sniffed = sniff(data)
        except SniffError as problem:
            return FirstBytes(data, problem=problem)
        if sniffed is not None:
            return FirstBytes(data, sniffed)
        if len(data) > MAX_SNIFF:
            break
    return FirstBytes(data, problem=_doubt(data, "too long to be read without doubt"))


async def _receive(client: Side, deadline: float | None) -> bytes:
    """What the client sent. It is often there already, and no turn of the loop is due."""
    try:
        return client.sock.recv(_READ)
    except BlockingIOError:
        async with asyncio.timeout_at(deadline):
            return await client.receive(_READ)


def _at_end(data: bytes) -> FirstBytes:
    """What it was, now that no more will come.

    A text without a line end that does not begin as a request is one to no server, and
    nothing else that carries a name. An unfinished hello or head stays in doubt.
    """
    unfinished = b"\n" in data or data[:1] == b"\x16" or _REQUEST.match(data)
    if not unfinished:
        return FirstBytes(data, Sniffed(Protocol.OPAQUE, None, None, None), eof=True)
    return FirstBytes(data, problem=_doubt(data, "ended too early"), eof=True)


def _doubt(data: bytes, why: str) -> SniffError:
    """Doubt about bytes of which `sniff` would have read more."""
    protocol = Protocol.TLS if data[:1] == b"\x16" else Protocol.HTTP
    return SniffError(why, protocol)


def peek(client: Side) -> Sniffed | None:
    """What a client that is not judged by name says first, without taking the bytes.

    For the record only. None when it is not clear from what has arrived.
    """
    try:
        return sniff(client.sock.recv(_READ, socket.MSG_PEEK))
    except (OSError, WireError):
        return None
