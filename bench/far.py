"""The far side: servers quick enough not to be what is measured.

`python -m bench.far ADDRESS...` answers on each address: on `ECHO_PORT` every octet with
itself, on `HTTP_PORT` every request with the same small answer, on `STREAM_PORT` as
`bench.stream` does, and on `UDP_PORT` every datagram with itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

from tests.lab import Lab

NAME = "bench.test"
#: Several addresses, so that a client does not use up its ports towards one of them.
ADDRESSES = tuple(f"203.0.113.{number}" for number in range(201, 233))
SERVER = ADDRESSES[0]
STREAM_PORT = 5201
ECHO_PORT = 5202
UDP_PORT = 5203
HTTP_PORT = 80
ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 12\r\n\r\n"
    b"hello there\n"
)


@contextlib.contextmanager
def servers(lab: Lab) -> Iterator[None]:
    """The servers in the lab's internet, as long as the block runs."""
    lab.set_name(NAME, a=list(ADDRESSES), ttl=3600)
    for number in range(64):  # Names that no cache holds.
        lab.set_name(f"n{number}.{NAME}", a=[SERVER], ttl=0)
    add = "; ".join(f"ip addr add {a}/32 dev lo" for a in ADDRESSES[1:])
    subprocess.run([*lab.inet_prefix, "sh", "-c", add], check=True)
    ends = [
        lab.popen_inet([sys.executable, "-m", "bench.far", *ADDRESSES]),
        lab.popen_inet(
            [sys.executable, "-m", "bench.stream", "serve", "", str(STREAM_PORT)]
        ),
    ]
    time.sleep(1.0)
    try:
        yield
    finally:
        for process in ends:
            process.terminate()
            process.wait()


class Echo(asyncio.Protocol):
    """Answers every octet with itself."""

    def connection_made(self, transport: Any) -> None:
        """Answer at once, however little it is."""
        self.transport = transport
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data: bytes) -> None:
        """Send it back."""
        self.transport.write(data)


class Web(Echo):
    """Answers every request head, and takes no body."""

    _unread = b""

    def data_received(self, data: bytes) -> None:
        """Send an answer for each head that is whole."""
        *heads, self._unread = (self._unread + data).split(b"\r\n\r\n")
        self.transport.write(ANSWER * len(heads))


class Mirror(asyncio.DatagramProtocol):
    """Answers every datagram with itself."""

    def connection_made(self, transport: Any) -> None:
        """Keep the way back."""
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        """Send it back."""
        self.transport.sendto(data, addr)


async def serve(addresses: list[str]) -> None:
    """Serve for ever."""
    loop = asyncio.get_running_loop()
    for address in addresses:
        await loop.create_server(Echo, address, ECHO_PORT, backlog=4096)
        await loop.create_server(Web, address, HTTP_PORT, backlog=4096)
        await loop.create_datagram_endpoint(Mirror, local_addr=(address, UDP_PORT))
    await asyncio.Event().wait()


if __name__ == "__main__":
    import uvloop

    uvloop.run(serve(sys.argv[1:]))
