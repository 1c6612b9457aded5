"""A lenient HTTP/1 server: what the most forgiving server on the internet might do.

It reads what strict servers refuse (bare LF, folded lines, no Host, two Hosts), for it
stands in for the server that an attacker chose. The record has each request it
understood; the TCP entry beneath has the octets themselves.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qs, urlsplit

from tests.lab.record import Live
from tests.lab.stream import Reader, Stream

_MAX_HEAD: Final = 262_144
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_FILL: Final = b"0123456789abcdef" * 4096


@dataclass(slots=True)
class Request:
    """One request, read and recorded."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    number: int
    body: bytes = b""
    length: int = 0
    sha256: str = ""
    peer: Live | None = field(default=None, repr=False)

    def header(self, name: str) -> str:
        """The first value of a header, or nothing."""
        return next((value for key, value in self.headers if key.lower() == name), "")

    @property
    def path(self) -> str:
        """The path, for absolute-form targets too."""
        return urlsplit(self.target).path or "/"

    @property
    def query(self) -> dict[str, list[str]]:
        """The parameters after the question mark."""
        return parse_qs(urlsplit(self.target).query)

    @property
    def host(self) -> str:
        """The name a server would go by: of an absolute target, else of Host."""
        authority = urlsplit(self.target).netloc or self.header("host")
        if self.method == "CONNECT":
            authority = self.target
        if authority.startswith("["):
            return authority.partition("]")[0] + "]"
        return authority.partition(":")[0]


def parse_head(head: bytes, number: int) -> Request | None:
    """Read a request head, or None if its first line is no request line."""
    lines = head.decode("latin-1").replace("\r\n", "\n").strip("\n").split("\n")
    words = lines[0].split()
    if len(words) != 3:
        return None
    headers: list[tuple[str, str]] = []
    for line in lines[1:]:
        if line[:1] in (" ", "\t") and headers:
            headers[-1] = (headers[-1][0], headers[-1][1] + " " + line.strip())
        elif ":" in line:
            key, _, value = line.partition(":")
            headers.append((key.strip(), value.strip()))
    return Request(words[0], words[1], headers, number)


async def read_head(reader: Reader) -> bytes | None:
    """A head, ended by an empty line, CRLF or LF alike; None at the end."""
    head = b""
    while True:
        line = await reader.until(b"\n", _MAX_HEAD)
        if line is None:
            return None
        if line in (b"\r\n", b"\n") and head:
            return head
        head += line.lstrip(b"\r\n") if not head else line


async def body_of(request: Request, reader: Reader) -> AsyncIterator[bytes]:
    """The body, piece by piece. Transfer-Encoding wins over Content-Length."""
    if "chunked" in request.header("transfer-encoding").lower():
        while line := await reader.until(b"\n", 8192):
            size = int(line.split(b";")[0].strip() or b"0", 16)
            if not size:
                await reader.until(b"\n", 8192)
                return
            yield await reader.exactly(size) or b""
            await reader.until(b"\n", 8192)
    else:
        left = int(request.header("content-length") or 0)
        while left and (piece := await reader.upto(left)):
            left -= len(piece)
            yield piece


def response(
    status: str, body: bytes, *headers: str, kind: str = "application/json"
) -> bytes:
    """A response with a length."""
    lines = (
        f"HTTP/1.1 {status}",
        "Server: lab",
        f"Content-Type: {kind}",
        f"Content-Length: {len(body)}",
        'Alt-Svc: h3=":443"; ma=60',  # harmless if QUIC is refused at once
        *headers,
    )
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body


async def write_bytes(stream: Stream, count: int) -> None:
    """Send *count* octets of a known pattern."""
    whole, rest = divmod(count, len(_FILL))
    for _ in range(whole):
        await stream.write(_FILL)
    await stream.write(_FILL[:rest])


async def answer(stream: Stream, request: Request, about: dict[str, object]) -> None:
    """The endpoints. Anything unknown gets a description of the request."""
    first, _, argument = request.path.strip("/").partition("/")
    match first:
        case "bytes":
            count = int(argument or 0)
            head = response("200 OK", b"", kind="application/octet-stream")
            length = f"Content-Length: {count}".encode()
            await stream.write(head.replace(b"Content-Length: 0", length))
            if request.method != "HEAD":
                await write_bytes(stream, count)
        case "chunked":
            await _chunked(stream, int(argument or 0))
        case "drip":
            await _drip(stream, int(argument or 10))
        case "wait":
            await asyncio.sleep(float(argument or 1))
            await stream.write(response("200 OK", b'"waited"\n'))
        case "status":
            await stream.write(response(f"{argument} Lab", b'"as you wish"\n'))
        case "redirect":
            to = request.query.get("to", ["https://d.test/"])[0]
            await stream.write(response("302 Found", b"", f"Location: {to}"))
        case "hello":
            text = f"hello from {request.host}\n".encode()
            await stream.write(response("200 OK", text, kind="text/plain"))
        case "echo":
            await stream.write(response("200 OK", request.body, kind="text/plain"))
        case "sha256":
            text = f"{request.length} {request.sha256}\n".encode()
            await stream.write(response("200 OK", text, kind="text/plain"))
        case "headers":
            text = json.dumps(request.headers).encode() + b"\n"
            await stream.write(response("200 OK", text))
        case _:
            text = json.dumps(about).encode() + b"\n"
            body = b"" if request.method == "HEAD" else text
            await stream.write(response("200 OK", body))


async def _chunked(stream: Stream, count: int) -> None:
    head = b"HTTP/1.1 200 OK\r\nServer: lab\r\nTransfer-Encoding: chunked\r\n\r\n"
    await stream.write(head)
    while count > 0:
        piece = _FILL[: min(count, 10_000)]
        await stream.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        count -= len(piece)
    await stream.write(b"0\r\n\r\n")


async def _drip(stream: Stream, count: int) -> None:
    """Octets with 50 ms between them: a response that lasts."""
    head = response("200 OK", b"", kind="text/plain")
    length = f"Content-Length: {count}".encode()
    await stream.write(head.replace(b"Content-Length: 0", length))
    for _ in range(count):
        await stream.write(b".")
        await asyncio.sleep(0.05)


def websocket_accept(key: str) -> str:
    """The answer to a Sec-WebSocket-Key (RFC 6455 section 4.2.2)."""
    digest = hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest()
    return base64.b64encode(digest).decode()
