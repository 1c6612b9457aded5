"""Reads what a client says first, until it is clear what it is.

Nothing read here is forwarded before it was judged. The budget is bytes (`MAX_SNIFF`),
pieces (one byte a segment is legal) and time.
"""

from __future__ import annotations

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


class FirstBytesReader:
    """Reads until the protocol is clear, the client ends, or the budget is spent.

    A *patient* reader waits for the first byte as long as it takes: the server may be
    the one to speak first.
    """

    def __init__(self, client: Side, limits: Limits, *, patient: bool) -> None:
        self._client = client
        self._limits = limits
        self._data = b""
        self._pieces = 0
        self._clock = client.loop.time
        self._deadline = None if patient else self._clock() + limits.first_byte_timeout

    def read_at_once(self) -> FirstBytes | None:
        """What the client has said by now; None if more is needed.

        It is often there already, and no turn of the loop is due. Raises `OSError` when
        the client is gone.
        """
        while self._pieces < self._limits.sniff_pieces:
            try:
                chunk = self._client.sock.recv(_READ)
            except BlockingIOError:
                return None
            if not chunk:
                return _at_end(self._data)
            first = self._add(chunk)
            if first is not None:
                return first
        return self._too_long()

    async def read(self) -> FirstBytes:
        """Wait for what the client says first. Raises `OSError` when it is gone."""
        while (first := self.read_at_once()) is None:
            try:
                await self._client.readable(self._seconds_left())
            except TimeoutError:
                return FirstBytes(self._data, expired=True)
        return first

    def _seconds_left(self) -> float | None:
        if self._deadline is None:
            return None
        return max(0.0, self._deadline - self._clock())

    def _add(self, chunk: bytes) -> FirstBytes | None:
        if not self._data:
            self._deadline = self._clock() + self._limits.sniff_timeout
        self._pieces += 1
        self._data += chunk
        try:
            sniffed = sniff(self._data)
        except SniffError as problem:
            return FirstBytes(self._data, problem=problem)
        if sniffed is not None:
            return FirstBytes(self._data, sniffed)
        return self._too_long() if len(self._data) > MAX_SNIFF else None

    def _too_long(self) -> FirstBytes:
        problem = _doubt(self._data, "too long to be read without doubt")
        return FirstBytes(self._data, problem=problem)


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
