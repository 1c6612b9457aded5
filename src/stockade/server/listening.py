"""The API's listener: granian in this process, on a socket that we bound.

Granian would bind with SO_REUSEPORT, so that a second server on the same port is not an
error but takes half of the connections; and it does not tell which port 0 became.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Final

from granian._granian import SocketHolder
from granian.constants import Interfaces, SSLProtocols
from granian.http import HTTP1Settings, HTTP2Settings
from granian.server.embed import Server

from stockade.errors import InvalidRequest, Unavailable
from stockade.server.authority import Certificate

# One client holds hundreds of connections, most of them in long polls.
BACKLOG: Final = 4096
_MAX_HEAD: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen."""

    host: str
    port: int

    def __str__(self) -> str:
        """As in a URL."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can connect."""
        return ip_address(self.host).is_loopback


def parse_listen(text: str) -> Address:
    """Read `ADDRESS:PORT`, `[ADDRESS]:PORT`, `:PORT`. Raises `InvalidRequest`."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") or "0.0.0.0"  # noqa: S104 - asked for
    try:
        number = int(port) if colon and port.isascii() and port.isdigit() else -1
        address = str(ip_address("127.0.0.1" if host == "localhost" else host))
    except ValueError:
        number = -1
    if not 0 <= number <= 65535:
        raise InvalidRequest(
            f"listen: {text!r} is not an address and a port such as 127.0.0.1:8650"
        )
    return Address(address, number)


def bind(address: Address) -> socket.socket:
    """A listening socket. Raises `Unavailable` when the address cannot be had."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Dual stack would make the guardrail of one family the door of the other.
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((address.host, address.port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise Unavailable(f"cannot listen on {address}: {error.strerror}") from None
    listener.setblocking(False)
    return listener


class _Embedded(Server):
    """Granian on a socket that is bound already."""

    def __init__(self, listener: socket.socket, app: Any, **options: Any) -> None:
        super().__init__(app, interface=Interfaces.ASGINL, log_enabled=False, **options)
        # Its stub says it takes no arguments. It closes the descriptor itself.
        holder: Any = SocketHolder
        self._given = holder(listener.detach(), False, BACKLOG)

    def _init_shared_socket(self) -> None:
        self._ssp: Any = None
        self._shd: Any = self._given

    def stop(self) -> None:
        super().stop()  # type: ignore[no-untyped-call]


@contextlib.asynccontextmanager
async def serving(
    listener: socket.socket, app: Any, certificate: Certificate | None, grace: float
) -> AsyncIterator[asyncio.Task[None]]:
    """Serve *app* within the block; yields a task that ends only if serving fails.

    At its end no new connection is taken, and requests that are under way are finished,
    for at most *grace* seconds.
    """
    server = _Embedded(
        listener,
        app,
        backlog=BACKLOG,
        http1_settings=HTTP1Settings(header_read_timeout=10_000),
        http2_settings=HTTP2Settings(
            max_headers_size=_MAX_HEAD, keep_alive_interval=30_000
        ),
        websockets=True,
        ssl_cert=certificate.chain if certificate else None,
        ssl_key=certificate.key if certificate else None,
        ssl_protocol_min=SSLProtocols.tls13,
    )
    task = asyncio.get_running_loop().create_task(server.serve())
    try:
        yield task
    finally:
        server.stop()
        await asyncio.wait({task}, timeout=grace)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
