"""A server that is there to be killed: echoes by TCP and UDP.

`python -m tests.soak.peer ADDRESS PORT`
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import Any


class Echo(asyncio.DatagramProtocol):
    """Sends each datagram back."""

    transport: asyncio.DatagramTransport

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.transport.sendto(data, addr)


async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send back what comes."""
    with contextlib.suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()


async def main() -> None:
    """Serve until killed."""
    address, port = sys.argv[1], int(sys.argv[2])
    loop = asyncio.get_running_loop()
    await loop.create_datagram_endpoint(Echo, local_addr=(address, port))
    server = await asyncio.start_server(talk, address, port)
    async with server:
        await server.serve_forever()


asyncio.run(main())
