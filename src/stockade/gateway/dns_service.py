"""The sockets on which devboxes ask DNS questions: UDP and TCP, any address."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
from collections.abc import Callable
from ipaddress import ip_address

from stockade.gateway.batches import DatagramBatch
from stockade.gateway.devboxes import AttachedDevbox
from stockade.gateway.dns import TCP_MESSAGE, DnsAnswerer
from stockade.gateway.listening import TaskKeeper, accept_each
from stockade.gateway.services import Services
from stockade.gateway.sockets import Datagrams, original_destination

# In a round of the loop: other lanes wait meanwhile.
_BATCH = 16
_MAX_QUERY = 4_096
_TCP_IDLE = 30.0
_TCP_PER_DEVBOX = 64


class DnsService:
    """Reads questions and writes answers; `DnsAnswerer` decides what they say."""

    def __init__(
        self,
        services: Services,
        answerer: DnsAnswerer,
        tasks: TaskKeeper,
        datagrams: Datagrams,
    ) -> None:
        self._services = services
        self._answerer = answerer
        self._tasks = tasks
        self._datagrams = datagrams
        self._connections: dict[AttachedDevbox, int] = {}

    def serve_plain(self, sock: socket.socket) -> None:
        """Answer questions sent to the gateway's own address: the usual, quick way."""
        batch = DatagramBatch(sock, _BATCH, _MAX_QUERY)
        # Bound once: this is done a hundred thousand times a second.
        devbox_at = self._services.registry.at_packed
        answer_at_once = self._answerer.answer_at_once

        def reply_to(source: tuple[str, int]) -> Callable[[bytes], None]:
            def reply(message: bytes) -> None:
                # The devbox may be gone, or take nothing: it will ask again.
                with contextlib.suppress(OSError):
                    sock.sendto(message, source)

            return reply

        def read() -> None:
            for at, source, rest in batch.receive():
                devbox = devbox_at(source)
                if devbox is None:
                    continue
                ready = answer_at_once(devbox, rest)
                if ready is None or not batch.answer(at, ready):
                    reply = reply_to(batch.endpoint(at))
                    self._start(devbox, batch.message(at), reply)
            batch.send()

        asyncio.get_running_loop().add_reader(sock.fileno(), read)

    def serve_transparent(self, sock: socket.socket) -> None:
        """Answer questions sent to any other address, from that address."""

        def read() -> None:
            for _ in range(_BATCH):
                try:
                    message, ancillary, _, source = sock.recvmsg(_MAX_QUERY, 256)
                except OSError:
                    return
                target = original_destination(ancillary)
                devbox = self._services.registry.at(source[0])
                if devbox is None or target is None:
                    continue
                client = (ip_address(source[0]), source[1])
                reply = functools.partial(self._datagrams.send, target, client)
                self._start(devbox, message, reply)

        asyncio.get_running_loop().add_reader(sock.fileno(), read)

    def serve_tcp(self, listener: socket.socket) -> None:
        """Answer questions over TCP (RFC 7766), several on a connection."""

        def serve(client: socket.socket, source: str) -> None:
            devbox = self._services.registry.at(source)
            open_now = self._connections.get(devbox, 0) if devbox else 0
            if devbox is None or open_now >= _TCP_PER_DEVBOX:
                client.close()
                return
            self._connections[devbox] = open_now + 1
            self._tasks.start(self._serve_stream(devbox, client))

        accept_each(listener, serve)

    def _start(
        self,
        devbox: AttachedDevbox,
        message: bytes,
        reply: Callable[[bytes], None],
    ) -> None:
        """Answer in a task; most end without waiting for anything."""

        async def answer() -> None:
            response = await self._answerer.answer(devbox, message)
            if response is not None:
                reply(response)

        self._tasks.start(answer())

    async def _serve_stream(
        self, devbox: AttachedDevbox, client: socket.socket
    ) -> None:
        loop = asyncio.get_running_loop()
        client.setblocking(False)
        try:
            while True:
                async with asyncio.timeout(_TCP_IDLE):
                    size = int.from_bytes(await _exactly(loop, client, 2), "big")
                    message = await _exactly(loop, client, size)
                response = await self._answerer.answer(
                    devbox, message, max_size=TCP_MESSAGE
                )
                if response is None:
                    return
                await loop.sock_sendall(
                    client, len(response).to_bytes(2, "big") + response
                )
        except (OSError, TimeoutError, EOFError):
            pass  # The devbox ended the connection, or left it idle.
        finally:
            client.close()
            left = self._connections.pop(devbox, 1) - 1
            if left:
                self._connections[devbox] = left


async def _exactly(
    loop: asyncio.AbstractEventLoop, sock: socket.socket, size: int
) -> bytes:
    """Read *size* octets. Raises `EOFError` when the stream ends before."""
    data = b""
    while len(data) < size:
        chunk = await loop.sock_recv(sock, size - len(data))
        if not chunk:
            raise EOFError
        data += chunk
    return data
