"""What each server does with a connection.

`auto` finds out from the first octets, as the address's port suggests: TLS, HTTP, a raw
command, or an echo of whatever comes. The others exist because a client of them must be
able to do nothing: they speak first, or never.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
import ssl
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from tests.lab.addresses import v4, v6
from tests.lab.certificates import Certificates
from tests.lab.dnsserver import DnsServer
from tests.lab.httpserver import (
    Request,
    answer,
    body_of,
    parse_head,
    read_head,
    response,
    websocket_accept,
)
from tests.lab.opaque import (
    Connection,
    echo,
    greeting,
    late,
    raw,
    reset,
    sink,
    ssh,
)
from tests.lab.record import Kind, Live, Record
from tests.lab.stream import Reader, TcpStream, TlsStream
from tests.lab.websocket import echo_messages

_SHARED: Final = {"shared-a.test", "shared-d.test"}  # names on one certificate
_SPEAKS_FIRST: Final = {21, 25, 110, 143, 587, 3306}
_SSH: Final = {22, 2222}
_SSL_REQUEST: Final = bytes.fromhex("0000000804d2162f")  # PostgreSQL's
_METHOD: Final = re.compile(rb"[A-Z]{3,20} ")
_COMMAND: Final = re.compile(rb"(BYTES (\d+)|SINK)\r?\n")

# Addresses that are not `auto`, by the number of `tests.lab.addresses`.
SERVICES: Final[Mapping[str, str]] = {
    **{at(22): "ssh" for at in (v4, v6)},
    **{at(23): "silent" for at in (v4, v6)},
    **{at(24): "slow" for at in (v4, v6)},
    **{at(27): "redirect" for at in (v4, v6)},
    **{at(31): "sink" for at in (v4, v6)},
    **{at(32): "reset" for at in (v4, v6)},
    **{at(33): "greeting" for at in (v4, v6)},
    **{at(34): "late" for at in (v4, v6)},
}


class TcpServices:
    """Serves every accepted TCP connection, and records it."""

    def __init__(
        self, record: Record, certificates: Certificates, dns: DnsServer
    ) -> None:
        self._record = record
        self._certificates = certificates
        self._dns = dns
        self._hellos: dict[ssl.SSLSocket | ssl.SSLObject, Live] = {}
        self.by_address = dict(SERVICES)
        self._table: Mapping[str, Callable[[Connection], Awaitable[None]]] = {
            "auto": self._auto,
            "dns": self._dns_over_tcp,
            "ssh": ssh,
            "greeting": greeting,
            "silent": echo,
            "slow": self._slow,
            "redirect": self._auto,
            "sink": sink,
            "reset": reset,
            "late": late,
        }

    async def serve(self, tcp: TcpStream) -> None:
        """Serve one connection to its end. Never raises but for cancellation."""
        live = tcp.live
        connection = Connection(tcp, tcp)
        try:
            await self._table[self._service(live)](connection)
            await connection.stream.end()
            # The client's end is part of the record: wait for it, but not for ever.
            ended = await _ends(tcp)
            live.close("eof" if ended else "server")
        except (ssl.SSLError, ValueError) as error:
            live.detail["error"] = str(error)
            live.close("eof")
        except OSError:
            live.close("reset")
        finally:
            tcp.sock.close()

    def _service(self, live: Live) -> str:
        if service := self.by_address.get(live.address):
            return service
        if live.port == 53:
            return "dns"
        if live.port in _SSH:
            return "ssh"
        return "greeting" if live.port in _SPEAKS_FIRST else "auto"

    def _add(self, kind: Kind, connection: Connection) -> Live:
        at = connection.live
        live = self._record.add(kind, at.side, (at.address, at.port), ("", 0))
        live.peer = at.peer
        live.detail["connection"] = at.id
        return live

    async def _auto(self, connection: Connection) -> None:
        stream = connection.stream
        first = await stream.read()
        while first and not first.endswith(b"\n") and _METHOD.match(first):
            if b"\n" in first or len(first) > 65_536:
                break
            more = await stream.read()
            first += more
            if not more:
                break
        if first == _SSL_REQUEST:
            await stream.write(b"S")
            await self._auto(connection)
            return
        stream.unread(first)
        if first[:1] == b"\x16":
            await self._tls(connection)
        elif command := _COMMAND.match(first):
            await raw(stream, command)
        elif re.match(rb"\s*\S+[ \t]+\S+[ \t]+HTTP/", first):
            await self._http(connection)
        else:
            await echo(connection)

    async def _tls(self, connection: Connection) -> None:
        live = self._add(Kind.TLS, connection)
        context = self._certificates.context([connection.live.address])
        context.sni_callback = self._named
        tls = TlsStream(connection.stream, context, live)
        self._hellos[tls.tls] = live
        try:
            await tls.handshake()
            connection.stream = tls
            connection.server_name = live.name
            await self._auto(connection)
            live.close("eof")
        except (ssl.SSLError, OSError) as error:
            live.detail["error"] = str(error)
            live.close("reset")
            raise
        finally:
            del self._hellos[tls.tls]

    def _named(
        self, tls: ssl.SSLSocket | ssl.SSLObject, name: str | None, _: ssl.SSLContext
    ) -> None:
        """OpenSSL read the ClientHello: note the name, choose the certificate."""
        live = self._hellos[tls]
        live.name = name or ""
        live.touch()
        if name:
            names = _SHARED if name in _SHARED else {name}
            tls.context = self._certificates.context(names)

    async def _http(self, connection: Connection) -> None:
        reader = Reader(connection.stream)
        number = 0
        while (head := await read_head(reader)) is not None:
            number += 1
            request = parse_head(head, number)
            if request is None:
                await connection.stream.write(response("400 Bad Request", b""))
                return
            live = self._note(connection, request)
            live.received(head)
            if request.header("expect").lower() == "100-continue":
                await connection.stream.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            await _read_body(request, reader, live)
            if await self._special(connection, request, reader):
                return
            await answer(connection.stream, request, self._about(connection, request))
            if request.header("connection").lower() == "close":
                return

    def _note(self, connection: Connection, request: Request) -> Live:
        live = self._add(Kind.HTTP, connection)
        live.name = request.host
        live.detail.update(
            method=request.method,
            target=request.target,
            path=request.path,
            headers=request.headers,
            request=request.number,
            server_name=connection.server_name,
        )
        return live

    def _about(self, connection: Connection, request: Request) -> dict[str, object]:
        at = connection.live
        return {
            "name": request.host,
            "server_name": connection.server_name,
            "method": request.method,
            "target": request.target,
            "address": at.address,
            "port": at.port,
            "peer": at.peer,
            "request": request.number,
        }

    async def _special(
        self, connection: Connection, request: Request, reader: Reader
    ) -> bool:
        """Requests after which the connection is no longer HTTP, and the redirect."""
        stream = connection.stream
        if request.method == "CONNECT":
            await stream.write(b"HTTP/1.1 200 Connected\r\n\r\n")
            stream.unread(reader.rest())
            await echo(connection)
            return True
        if request.header("upgrade").lower() == "websocket":
            key = websocket_accept(request.header("sec-websocket-key"))
            await stream.write(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                b"Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n"
                % key.encode()
            )
            messages = self._add(Kind.WS, connection)
            messages.name = request.host
            await echo_messages(stream, reader, messages)
            return True
        if self._service(connection.live) == "redirect" and request.path == "/":
            scheme = "https" if connection.server_name else "http"
            to = f"Location: {scheme}://d.test/"
            await stream.write(response("302 Found", b"", to, "Connection: close"))
            return True
        return False

    async def _slow(self, connection: Connection) -> None:
        await asyncio.sleep(1.0)
        await self._auto(connection)

    async def _dns_over_tcp(self, connection: Connection) -> None:
        reader = Reader(connection.stream)
        while size := await reader.exactly(2):
            message = await reader.exactly(int.from_bytes(size, "big"))
            if message is None:
                return
            live = self._add(Kind.DNS, connection)
            for reply in self._dns.answer(message, live, udp=False):
                await connection.stream.write(len(reply).to_bytes(2, "big") + reply)


async def _read_body(request: Request, reader: Reader, live: Live) -> None:
    digest = hashlib.sha256()
    async for piece in body_of(request, reader):
        digest.update(piece)
        request.length += len(piece)
        live.received(piece)
        if len(request.body) < 1_048_576:
            request.body += piece
    request.sha256 = digest.hexdigest()
    live.detail.update(length=request.length, sha256=request.sha256)
    live.close("eof")


async def _ends(tcp: TcpStream) -> bool:
    """Whether the client ends the connection too, within some seconds."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(5):
            while await tcp.read():
                pass
            return True
    return False
