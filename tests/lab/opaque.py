"""Services without a name on the wire: what ssh, mail or a database look like.

Some speak first and some never do: a client of theirs can do nothing but wait.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from dataclasses import dataclass
from typing import Final

from tests.lab.httpserver import write_bytes
from tests.lab.record import Live
from tests.lab.stream import Reader, Stream, TcpStream

SSH_BANNER: Final = b"SSH-2.0-Lab_1.0\r\n"
GREETING: Final = b"220 greeting.test ready\r\n"


@dataclass(slots=True)
class Connection:
    """One accepted connection, as far as it is understood."""

    stream: Stream
    tcp: TcpStream
    server_name: str = ""

    @property
    def live(self) -> Live:
        """The entry of the TCP connection."""
        return self.tcp.live


async def raw(stream: Stream, command: re.Match[bytes]) -> None:
    """`BYTES n` is answered with n octets, `SINK` with count and digest at the end."""
    reader = Reader(stream)
    await reader.until(b"\n", 100)
    if command[2]:
        await write_bytes(stream, int(command[2]))
        return
    stream.unread(reader.rest())
    await _digest(stream)


async def _digest(stream: Stream) -> None:
    digest, count = hashlib.sha256(), 0
    while data := await stream.read():
        digest.update(data)
        count += len(data)
    await stream.write(f"{count} {digest.hexdigest()}\n".encode())


async def echo(connection: Connection) -> None:
    """Say nothing first; send back what comes."""
    while data := await connection.stream.read():
        await connection.stream.write(data)


async def ssh(connection: Connection) -> None:
    """An SSH version line at once, then an echo."""
    await connection.stream.write(SSH_BANNER)
    await echo(connection)


async def greeting(connection: Connection) -> None:
    """A greeting as mail and file servers have it, then an echo."""
    await connection.stream.write(GREETING)
    await echo(connection)


async def sink(connection: Connection) -> None:
    """Read to the end, then say how much it was."""
    await _digest(connection.stream)


async def reset(connection: Connection) -> None:
    """Reset the connection once the client has said something."""
    await connection.stream.read()
    connection.tcp.abort()
    raise ConnectionResetError


async def late(connection: Connection) -> None:
    """A greeting after two seconds in which nobody says anything."""
    await asyncio.sleep(2.0)
    await greeting(connection)
