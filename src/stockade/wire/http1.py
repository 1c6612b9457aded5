"""HTTP/1: the requests of one connection, and what is changed or said on it.

`http1_head` reads one head; `RequestStream` finds the heads of a connection, so that each
request on it can be judged before it is forwarded. This module is what the gateway imports
of HTTP.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto

from stockade.errors import WireError
from stockade.wire.http1_head import (
    MAX_FIELDS,
    MAX_HEAD,
    Framing,
    HeadScan,
    RequestHead,
    parse_request_head,
    parse_whole_head,
)

__all__ = [
    "MAX_FIELDS",
    "MAX_HEAD",
    "BodyEvent",
    "Event",
    "Framing",
    "HeadEvent",
    "RequestHead",
    "RequestStream",
    "denial_response",
    "parse_request_head",
    "rewrite_without_upgrade",
]

# No extensions: RFC 9112 section 7.1.1 has them ignored, and servers do not agree where
# such a line ends.
_CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]{1,15}")
_CHUNK_SIZE_PREFIX = re.compile(rb"[0-9A-Fa-f]{0,15}|[0-9A-Fa-f]{1,15}\r")
_LONGEST_LINE = 17
_MAX_CHUNK = 0x7FFFFFFF  # what overflows in no server
_UPGRADE_FIELDS = frozenset((b"upgrade", b"http2-settings"))
_PHRASES = {400: "Bad Request", 403: "Forbidden", 405: "Method Not Allowed"}


@dataclass(frozen=True, slots=True)
class HeadEvent:
    """A request begins. *raw* is its head as received."""

    head: RequestHead
    raw: bytes


@dataclass(frozen=True, slots=True)
class BodyEvent:
    """Octets of the body of the latest request, with their chunk framing."""

    raw: bytes


Event = HeadEvent | BodyEvent


class _State(Enum):
    """What comes next on the connection."""

    HEAD = auto()
    BODY = auto()
    CHUNK_SIZE = auto()
    CHUNK_DATA = auto()
    CHUNK_END = auto()
    TRAILER = auto()


# What follows the end of counted octets, and of an empty line.
_AFTER = {
    _State.BODY: _State.HEAD,
    _State.CHUNK_DATA: _State.CHUNK_END,
    _State.CHUNK_END: _State.CHUNK_SIZE,
    _State.TRAILER: _State.HEAD,
}


class RequestStream:
    """The client's direction of one connection, from its first head on.

    The events of a connection, put together again, are the octets it sent; consecutive
    octets of a body are one event. Whatever comes after a request is read as the next one,
    also when the connection was to be closed.
    """

    __slots__ = ("_error", "_left", "_scan", "_state", "_unread")

    def __init__(self) -> None:
        self._state = _State.HEAD
        self._left = 0  # octets of counted data still to come
        self._scan = HeadScan()
        self._unread = b""
        self._error: WireError | None = None

    @property
    def unread(self) -> bytes:
        """What was received and is in no event: for the time after an upgrade."""
        return self._unread

    @property
    def spliceable(self) -> int:
        """How many octets of a body of known length come next, 0 if none.

        They may be moved without being received here, and are reported with `skip`.
        """
        return self._left if self._state is _State.BODY else 0

    def skip(self, count: int) -> None:
        """Take note that *count* octets of `spliceable` were moved."""
        if not 0 <= count <= self.spliceable:
            raise ValueError(f"{count} octets of {self.spliceable} skipped")
        self._count(count)

    def receive(self, data: bytes) -> list[Event]:
        """The events that *data* completes.

        At the first violation the events before it are returned, and `WireError` is raised
        by the next call (also one without data), and by all later ones; where there are no
        events before it, it is raised at once.
        """
        if self._error is not None:
            raise self._error
        buffer = self._unread + data
        events: list[Event] = []
        at = reported = 0
        try:
            while at < len(buffer):
                if self._state is not _State.HEAD:
                    end = self._body_end(buffer, at)
                    if end == at:
                        break
                    at = end
                    continue
                end_of_head = self._scan.find_end(buffer, at)
                if end_of_head is None:
                    break
                raw = buffer[at:end_of_head]
                head = parse_whole_head(raw)
                _add_body(buffer[reported:at], events)
                events.append(HeadEvent(head, raw))
                reported = at = end_of_head
                self._scan = HeadScan()
                self._expect_body(head)
        except WireError as error:
            self._error = error
        _add_body(buffer[reported:at], events)
        self._unread = buffer[at:]
        if self._error is not None and not events:
            raise self._error
        return events

    def _expect_body(self, head: RequestHead) -> None:
        if head.framing is Framing.CHUNKED:
            self._state = _State.CHUNK_SIZE
        elif head.content_length:
            self._state = _State.BODY
            self._left = head.content_length

    def _body_end(self, buffer: bytes, at: int) -> int:
        """Read one piece of a body at *at*; where it ends, or *at* if more is needed."""
        if self._left:
            end = min(len(buffer), at + self._left)
            self._count(end - at)
            return end
        end = buffer.find(b"\r\n", at, at + _LONGEST_LINE)
        if self._state is _State.CHUNK_SIZE:
            return self._chunk_size(buffer, at, end)
        # After a chunk, and after the last one: trailers are fields that nobody checked.
        if end == at:
            self._state = _AFTER[self._state]
            return at + 2
        if buffer[at:] != b"\r":
            raise WireError(f"octets after an HTTP chunk: {buffer[at : at + 80]!r}")
        return at

    def _chunk_size(self, buffer: bytes, at: int, end: int) -> int:
        line = buffer[at : at + _LONGEST_LINE if end < 0 else end]
        expected = _CHUNK_SIZE_PREFIX if end < 0 else _CHUNK_SIZE
        if not expected.fullmatch(line):
            raise WireError(f"not the size of an HTTP chunk: {line!r}")
        if end < 0:
            return at
        size = int(line, 16)
        if size > _MAX_CHUNK:
            raise WireError(f"an HTTP chunk of {size} octets")
        self._left = size
        self._state = _State.CHUNK_DATA if self._left else _State.TRAILER
        return end + 2

    def _count(self, count: int) -> None:
        self._left -= count
        if not self._left:
            self._state = _AFTER[self._state]


def rewrite_without_upgrade(head: bytes) -> bytes:
    """The head without its offer to change protocol; all else is kept as it was.

    *head* is one that `parse_request_head` accepts.
    """
    kept: list[bytes] = []
    for line in head.removesuffix(b"\r\n\r\n").split(b"\r\n"):
        name, colon, value = line.partition(b":")
        if name.lower() in _UPGRADE_FIELDS:
            continue
        if name.lower() == b"connection":
            options = [option.strip(b" \t") for option in value.split(b",")]
            left = [o for o in options if o.lower() not in _UPGRADE_FIELDS]
            if not left:
                continue
            if left != options:
                line = name + colon + b" " + b", ".join(left)  # noqa: PLW2901
        kept.append(line)
    return b"\r\n".join(kept) + b"\r\n\r\n"


def denial_response(*, status: int, body: Mapping[str, object], text: str) -> bytes:
    """A whole response that says no: JSON, with one line for people as its last value."""
    payload = json.dumps({**body, "message": text}).encode("ascii") + b"\n"
    head = (
        f"HTTP/1.1 {status} {_PHRASES.get(status, 'Denied')}\r\n"
        "Content-Type: application/json\r\n"
        f"Content-Length: {len(payload)}\r\n"
        "Cache-Control: no-store\r\n"
        "Connection: close\r\n\r\n"
    )
    return head.encode("ascii") + payload


def _add_body(octets: bytes, events: list[Event]) -> None:
    if octets:
        events.append(BodyEvent(octets))
