"""HTTP/1 requests (RFC 9110, RFC 9112), strictly."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from stockade.errors import WireError

MAX_HEAD = 65_536
MAX_FIELDS = 200

_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}) ([\x21-\x7e]+) HTTP/1\.([01])")
_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_HOST = re.compile(r"([A-Za-z0-9._~-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{0,5}))?")
_ABSOLUTE = re.compile(r"https?://([^/?#]*)(.*)", re.IGNORECASE)


class Framing(Enum):
    NONE = "none"
    LENGTH = "length"
    CHUNKED = "chunked"


@dataclass(frozen=True, slots=True)
class RequestHead:
    method: str
    target: str
    version: tuple[int, int]
    host: str
    port: int | None
    framing: Framing
    content_length: int
    upgrade: str | None
    keep_alive: bool
    size: int
    expect_continue: bool


@dataclass(frozen=True, slots=True)
class HeadEvent:
    head: RequestHead
    raw: bytes


@dataclass(frozen=True, slots=True)
class BodyEvent:
    raw: bytes


Event = HeadEvent | BodyEvent


def parse_request_head(data: bytes) -> RequestHead | None:
    end = data.find(b"\r\n\r\n", 0, MAX_HEAD)
    lines = (data if end < 0 else data[:end]).split(b"\r\n")
    if end < 0:
        if len(data) >= MAX_HEAD:
            raise WireError("head too long")
        complete = lines[:-1]
        tail = lines[-1].removesuffix(b"\r")
        if b"\n" in tail or b"\r" in tail or b"\0" in tail:
            raise WireError("bare CR or LF")
    else:
        complete = lines
    for line in complete:
        if b"\r" in line or b"\n" in line or b"\0" in line:
            raise WireError("control character")
    if complete and not _LINE.fullmatch(complete[0]):
        raise WireError("request line")
    if end < 0:
        return None
    return _parse(lines, end + 4)


def _parse(lines: list[bytes], size: int) -> RequestHead:
    match = _LINE.fullmatch(lines[0])
    if match is None:
        raise WireError("request line")
    if len(lines) - 1 > MAX_FIELDS:
        raise WireError("too many fields")
    fields: dict[str, list[str]] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(b":")
        if not colon or not _TOKEN.fullmatch(name) or not _VALUE.fullmatch(value):
            raise WireError("field line")
        fields.setdefault(name.decode("ascii").lower(), []).append(
            value.strip(b" \t").decode("latin-1")
        )
    method, target = match[1].decode(), match[2].decode()
    version = (1, int(match[3]))
    host, port = _authority(method, target, fields)
    framing, length = _framing(version, fields)
    tokens = {
        t.strip().lower() for v in fields.get("connection", ()) for t in v.split(",")
    }
    upgrade = None
    if "upgrade" in fields:
        upgrade = (
            ",".join(fields["upgrade"]).strip().lower() if "upgrade" in tokens else "?"
        )
    keep = "close" not in tokens if version == (1, 1) else "keep-alive" in tokens
    expect = fields.get("expect", [""])[0].lower() == "100-continue"
    return RequestHead(
        method,
        target,
        version,
        host,
        port,
        framing,
        length,
        upgrade,
        keep,
        size,
        expect,
    )


def _authority(
    method: str, target: str, fields: dict[str, list[str]]
) -> tuple[str, int | None]:
    hosts = fields.get("host", [])
    if len(hosts) != 1:
        raise WireError(f"{len(hosts)} Host fields")
    host, port = _split(hosts[0])
    if method == "CONNECT":
        there = _split(target)
    elif target.startswith("/") or (target == "*" and method == "OPTIONS"):
        return host, port
    else:
        match = _ABSOLUTE.fullmatch(target)
        if match is None:
            raise WireError("request target")
        there = _split(match[1])
    if there[0].lower() != host.lower():
        raise WireError("target and Host differ")
    return host, port


def _split(text: str) -> tuple[str, int | None]:
    match = _HOST.fullmatch(text)
    if match is None:
        raise WireError("authority")
    return match[1], int(match[2]) if match[2] else None


def _framing(
    version: tuple[int, int], fields: dict[str, list[str]]
) -> tuple[Framing, int]:
    lengths, codings = (
        fields.get("content-length", []),
        fields.get("transfer-encoding", []),
    )
    if codings:
        if (
            lengths
            or len(codings) != 1
            or codings[0].lower() != "chunked"
            or version != (1, 1)
        ):
            raise WireError("ambiguous length")
        return Framing.CHUNKED, 0
    if lengths:
        if len(lengths) != 1 or not re.fullmatch("[0-9]{1,18}", lengths[0]):
            raise WireError("ambiguous length")
        return Framing.LENGTH, int(lengths[0])
    return Framing.NONE, 0


def rewrite_without_upgrade(head: bytes) -> bytes:
    out = []
    for line in head[:-4].split(b"\r\n"):
        name = line.partition(b":")[0].lower()
        if name in (b"upgrade", b"http2-settings"):
            continue
        if name == b"connection":
            tokens = [t.strip() for t in line.partition(b":")[2].split(b",")]
            tokens = [
                t for t in tokens if t.lower() not in (b"upgrade", b"http2-settings")
            ]
            if not tokens:
                continue
            line = b"Connection: " + b", ".join(tokens)
        out.append(line)
    return b"\r\n".join(out) + b"\r\n\r\n"


class RequestStream:
    def __init__(self) -> None:
        self._buffer = b""
        self._left = 0
        self._state = "head"
        self._failed: WireError | None = None

    @property
    def spliceable(self) -> int:
        return self._left if self._state == "length" and not self._buffer else 0

    def skip(self, count: int) -> None:
        self._left -= count
        if not self._left:
            self._state = "head"

    def receive(self, data: bytes) -> list[Event]:
        if self._failed is not None:
            raise self._failed
        self._buffer += data
        events: list[Event] = []
        try:
            while (event := self._next()) is not None:
                events.append(event)
        except WireError as error:
            self._failed = error
            if not events:
                raise
        return events

    def _next(self) -> Event | None:
        if not self._buffer:
            return None
        if self._state == "head":
            head = parse_request_head(self._buffer)
            if head is None:
                return None
            raw, self._buffer = self._buffer[: head.size], self._buffer[head.size :]
            if head.framing is Framing.CHUNKED:
                self._state = "chunk-size"
            elif head.content_length:
                self._state, self._left = "length", head.content_length
            return HeadEvent(head, raw)
        if self._state in ("length", "chunk-data"):
            raw, self._buffer = self._buffer[: self._left], self._buffer[self._left :]
            self._left -= len(raw)
            if not self._left:
                self._state = "head" if self._state == "length" else "chunk-end"
            return BodyEvent(raw)
        return self._chunk()

    def _chunk(self) -> Event | None:
        end = self._buffer.find(b"\r\n")
        if end < 0:
            if len(self._buffer) > 20 or b"\n" in self._buffer:
                raise WireError("chunk")
            return None
        line = self._buffer[:end]
        raw, self._buffer = self._buffer[: end + 2], self._buffer[end + 2 :]
        if self._state == "chunk-size":
            if not re.fullmatch(rb"[0-9A-Fa-f]{1,16}", line):
                raise WireError("chunk size")
            self._left = int(line, 16)
            self._state = "chunk-data" if self._left else "trailer"
        elif line:
            raise WireError("trailer or chunk end")
        else:
            self._state = "chunk-size" if self._state == "chunk-end" else "head"
        return BodyEvent(raw)


def denial_response(*, status: int, body: Mapping[str, object], text: str) -> bytes:
    payload = json.dumps({**body, "message": text}).encode() + b"\n"
    phrase = {400: "Bad Request", 403: "Forbidden", 405: "Method Not Allowed"}.get(
        status, "Denied"
    )
    return (
        f"HTTP/1.1 {status} {phrase}\r\nContent-Type: application/json\r\nContent-Length: {len(payload)}\r\n"
        "Connection: close\r\n\r\n"
    ).encode() + payload
