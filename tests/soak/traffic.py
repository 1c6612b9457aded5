"""One connection of each kind, made from inside a devbox and ended in some way.

Whether it is allowed depends on the policy of the moment; each kind takes both, and ends
within some seconds. Raises `OSError` or `TimeoutError` when it was refused or cut.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, Self

import dns.message
import dns.rdatatype

from tests.attacks.builders import get, hello, question
from tests.lab.addresses import v4, v6
from tests.soak.slots import Bare

PEER_PORT: Final = 9000
#: Names that are asked for: allowed here and denied there, odd ones, and none.
_ASKED: Final = (
    *("a.test", "b.test", "d.test", "x.test", "big.test", "cname.test", "many.test"),
    *("servfail.test", "nx.test", "garbage.test", "liar.test", "private.test"),
    *("tcponly.test", "rotating.test", "ttl0.test", "loop.test", "mixed.test"),
)
_TYPES: Final = (1, 1, 1, 28, 28, 65, 16, 255)
_LINGER_NONE: Final = struct.pack("ii", 1, 0)
_UPGRADE: Final = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


class Traffic:
    """Makes connections; *authority* is the certificate that servers are proven by."""

    def __init__(self, authority: Path) -> None:
        self._tls = ssl.create_default_context(cafile=str(authority))

    async def some(self, bare: Bare) -> None:
        """One of the kinds, at random."""
        kinds: tuple[Callable[[Bare], Awaitable[None]], ...] = (
            *(self.question, self.question, self.question_by_tcp, self.tls),
            *(self.requests, self.opaque, self.half_close, self.stream, self.upload),
            *(self.datagrams, self.quic, self.slow_hello, self.reset, self.held),
            *(self.denied, self.websocket, self.server_first, self.deaf, self.peer),
            *(self.dead_ends, self.garbage, self.by_address),
        )
        await random.choice(kinds)(bare)

    async def question(self, bare: Bare) -> None:
        """A question by UDP, about a name that exists or not."""
        await _asked(bare, _any_name(), random.choice(_TYPES))

    async def question_by_tcp(self, bare: Bare) -> None:
        """The same by TCP; sometimes the connection stays for a while."""
        async with _Connection(bare, bare.resolver, 53) as connection:
            message = question(_any_name(), random.choice(_TYPES))
            await connection.send(len(message).to_bytes(2, "big") + message)
            await connection.receive(2)
            await asyncio.sleep(random.choice((0, 0, 2)))

    async def tls(self, bare: Bare) -> None:
        """A TLS connection with a request in it."""
        name = random.choice(("a.test", "b.test", f"h{random.randrange(50)}.w.test"))
        address = await _resolved(bare, name)
        async with _Connection(bare, address, 443) as connection:
            reader, writer = await asyncio.open_connection(
                sock=connection.taken(), ssl=self._tls, server_hostname=name
            )
            try:
                writer.write(get(name, "/bytes/20000", extra="Connection: close\r\n"))
                while await reader.read(65_536):
                    pass
            finally:
                writer.transport.abort()

    async def requests(self, bare: Bare) -> None:
        """A kept-alive HTTP connection; its last request may be for another host."""
        address = await _resolved(bare, "a.test")
        async with _Connection(bare, address, 80) as connection:
            for number in range(random.randrange(1, 6)):
                await connection.send(get("a.test", f"/bytes/{number * 100}"))
                await connection.receive()
            await connection.send(get(random.choice(("a.test", "d.test"))))
            await connection.receive()

    async def opaque(self, bare: Bare) -> None:
        """A protocol that carries no name."""
        address = await _resolved(bare, random.choice(("a.test", "b.test")))
        async with _Connection(bare, address, 7000) as connection:
            for _ in range(5):
                await connection.send(b"hello\n")
                await connection.receive()

    async def half_close(self, bare: Bare) -> None:
        """The client is done and goes on reading."""
        address = await _resolved(bare, "big.test")
        async with _Connection(bare, address, 7000) as connection:
            await connection.send(b"BYTES 300000\n")
            connection.sock.shutdown(socket.SHUT_WR)
            await connection.drain()

    async def stream(self, bare: Bare) -> None:
        """Some megabytes down, or as much of them as somebody waits for."""
        address = await _resolved(bare, "big.test")
        async with _Connection(bare, address, 7000) as connection:
            await connection.send(b"BYTES 3000000\n")
            await connection.drain(random.choice((100_000, 10_000_000)))

    async def upload(self, bare: Bare) -> None:
        """Some megabytes up."""
        address = await _resolved(bare, "sink.test")
        async with _Connection(bare, address, 7000) as connection:
            for _ in range(20):
                await connection.send(bytes(100_000))
            connection.sock.shutdown(socket.SHUT_WR)
            await connection.drain()

    async def datagrams(self, bare: Bare) -> None:
        """Datagrams to a name's address and back."""
        address = await _resolved(bare, random.choice(("a.test", "b.test", "d.test")))
        for _ in range(3):
            await _exchanged(bare, address, random.randrange(7000, 7010), b"ping")

    async def quic(self, bare: Bare) -> None:
        """What is refused by ICMP."""
        await _exchanged(bare, v4(10), 443, bytes(1200))

    async def slow_hello(self, bare: Bare) -> None:
        """A ClientHello by and by; the client may lose patience first."""
        name = random.choice(("a.test", "d.test"))
        address = await _resolved(bare, name)
        first = hello(name)
        async with _Connection(bare, address, 443) as connection:
            for octet in first[: random.choice((20, 40))]:
                await connection.send(bytes((octet,)))
                await asyncio.sleep(0.2)
            await connection.send(first[40:])
            await connection.receive()

    async def reset(self, bare: Bare) -> None:
        """The client goes away in the middle, at any point."""
        address = await _resolved(bare, random.choice(("a.test", "big.test")))
        async with _Connection(bare, address, 7000) as connection:
            connection.sock.setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NONE
            )
            first = random.choice((b"", b"\x16\x03\x01", b"GET /", b"BYTES 900000\n"))
            if first:
                await connection.send(first)
            await asyncio.sleep(random.random() / 10)

    async def held(self, bare: Bare) -> None:
        """A connection that is open for long; policies change and servers die."""
        address = await _resolved(bare, random.choice(("a.test", "b.test")))
        async with _Connection(bare, address, 7000) as connection:
            for _ in range(random.randrange(2, 20)):
                await connection.send(b"still here\n")
                await connection.receive()
                await asyncio.sleep(2)

    async def denied(self, bare: Bare) -> None:
        """What most policies do not allow, in three protocols."""
        port, first = random.choice(
            ((443, hello("d.test")), (80, get("d.test")), (22, b"SSH-2.0-soak\r\n"))
        )
        address = random.choice((await _resolved(bare, "d.test"), v4(10), v6(66)))
        async with _Connection(bare, address, port) as connection:
            await connection.send(first)
            await connection.receive()

    async def websocket(self, bare: Bare) -> None:
        """HTTP that becomes something else."""
        address = await _resolved(bare, "ws.test")
        async with _Connection(bare, address, 80) as connection:
            await connection.send(get("ws.test", extra=_UPGRADE))
            await connection.receive()
            await connection.send(bytes.fromhex("818537fa213d7f9f4d5158"))
            await connection.receive()

    async def server_first(self, bare: Bare) -> None:
        """The server speaks first, or after a while, or the client never does."""
        name = random.choice(("ssh.test", "late.test", "greeting.test", "silent.test"))
        address = await _resolved(bare, name)
        async with _Connection(bare, address, 22) as connection:
            await connection.receive()

    async def deaf(self, bare: Bare) -> None:
        """Much is asked for and never read."""
        address = await _resolved(bare, "big.test")
        async with _Connection(bare, address, 7000) as connection:
            await connection.send(b"BYTES 50000000\n")
            await asyncio.sleep(random.randrange(1, 8))

    async def peer(self, bare: Bare) -> None:
        """A server that is killed now and then, by TCP and UDP."""
        address = await _resolved(bare, "peer.test")
        async with _Connection(bare, address, PEER_PORT) as connection:
            for _ in range(20):
                await connection.send(b"ping")
                await connection.receive()
                await _exchanged(bare, address, PEER_PORT, b"ping")
                await asyncio.sleep(0.5)

    async def dead_ends(self, bare: Bare) -> None:
        """Servers that refuse, say nothing at all, or reset."""
        name = random.choice(("refused.test", "blackhole.test", "reset.test"))
        address = await _resolved(bare, name)
        async with _Connection(bare, address, 7000) as connection:
            await connection.send(b"anybody?\n")
            await connection.receive()

    async def garbage(self, bare: Bare) -> None:
        """Octets that are nothing, to all that reads octets."""
        address = await _resolved(bare, "a.test")
        for port in (80, 443):
            async with _Connection(bare, address, port) as connection:
                await connection.send(random.choice((b"\x16\x03", b"GET ", b"")))
                await connection.send(os.urandom(2_000))
                await connection.receive()
        await _exchanged(bare, bare.resolver, 53, os.urandom(40))

    async def by_address(self, bare: Bare) -> None:
        """An address without any question before."""
        async with _Connection(bare, v4(11), 7000) as connection:
            await connection.send(b"hello\n")
            await connection.receive()


class _Connection:
    """A TCP connection of a devbox, closed at the end of the block."""

    def __init__(self, bare: Bare, address: str, port: int) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.sock = bare.socket(family, socket.SOCK_STREAM)
        self._to = (address, port)
        self._loop = asyncio.get_running_loop()

    async def __aenter__(self) -> Self:
        try:
            async with asyncio.timeout(5):
                await self._loop.sock_connect(self.sock, self._to)
        except BaseException:
            self.sock.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self.sock.close()

    def taken(self) -> socket.socket:
        """The socket, for somebody else to close."""
        return self.sock.dup()

    async def send(self, data: bytes) -> None:
        """Send all, within some seconds."""
        async with asyncio.timeout(10):
            await self._loop.sock_sendall(self.sock, data)

    async def receive(self, most: int = 65_536) -> bytes:
        """What comes next. Raises `ConnectionError` at the end of the stream."""
        async with asyncio.timeout(5):
            got = await self._loop.sock_recv(self.sock, most)
        if not got:
            raise ConnectionError("the stream ended")
        return got

    async def drain(self, most: int = 1 << 30) -> None:
        """Read to the end, or until it is enough."""
        async with asyncio.timeout(20):
            while most > 0 and (got := await self._loop.sock_recv(self.sock, 1 << 20)):
                most -= len(got)


async def _exchanged(bare: Bare, address: str, port: int, data: bytes) -> bytes:
    """Send a datagram and wait a moment for an answer."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with bare.socket(family, socket.SOCK_DGRAM) as sock:
        sock.connect((address, port))
        sock.send(data)
        async with asyncio.timeout(2):
            return await asyncio.get_running_loop().sock_recv(sock, 65_536)


async def _asked(bare: Bare, name: str, qtype: int) -> bytes:
    return await _exchanged(bare, bare.resolver, 53, question(name, qtype))


async def _resolved(bare: Bare, name: str) -> str:
    """An address of *name*, as the gateway tells it: its own or the sinkhole's."""
    answer = dns.message.from_wire(await _asked(bare, name, 1))
    for records in answer.answer:
        if records.rdtype == dns.rdatatype.A:
            return str(next(iter(records)))
    raise ConnectionError(f"no address for {name}")


def _any_name() -> str:
    return random.choice((*_ASKED, f"n{random.randrange(5_000)}.w.test"))
