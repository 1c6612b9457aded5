"""Byte streams of the lab's servers: a TCP connection, and TLS on top of one.

Written on sockets and `ssl.MemoryBIO`, so that every octet is counted where it passes,
half of a connection can be closed, and what was read ahead can be put back.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from typing import Final, Protocol

from tests.lab.record import Live

_CHUNK: Final = 262_144


class Stream(Protocol):
    """What a service needs of a connection."""

    async def read(self) -> bytes:
        """Octets that are there; empty at the end."""

    async def write(self, data: bytes | memoryview) -> None:
        """Send all of *data*."""

    async def end(self) -> None:
        """No more will be written."""

    def unread(self, data: bytes) -> None:
        """Put back what was read too far."""


class TcpStream:
    """One accepted connection and its entry in the record."""

    def __init__(self, sock: socket.socket, live: Live) -> None:
        self.sock = sock
        self.live = live
        self._ahead = b""

    async def read(self) -> bytes:
        """Octets that are there; empty at the end."""
        if self._ahead:
            data, self._ahead = self._ahead, b""
            return data
        data = await asyncio.get_running_loop().sock_recv(self.sock, _CHUNK)
        self.live.received(data)
        # sock_recv does not pause while there is something to read, and a fast client
        # would have the loop to itself. sock_sendall is the same.
        await asyncio.sleep(0)
        return data

    async def write(self, data: bytes | memoryview) -> None:
        """Send all of *data*, counted as the kernel takes it."""
        loop = asyncio.get_running_loop()
        view = memoryview(data)
        for start in range(0, len(view), _CHUNK):
            piece = view[start : start + _CHUNK]
            await loop.sock_sendall(self.sock, piece)
            self.live.sent(len(piece))
            await asyncio.sleep(0)

    async def end(self) -> None:
        """Close the sending half."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)

    def unread(self, data: bytes) -> None:
        """Put back what was read too far."""
        self._ahead = data + self._ahead

    def abort(self) -> None:
        """Make the close a reset."""
        linger = struct.pack("ii", 1, 0)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)


class TlsStream:
    """The server side of TLS over another stream."""

    def __init__(self, lower: Stream, context: ssl.SSLContext, live: Live) -> None:
        self._lower = lower
        self._in = ssl.MemoryBIO()
        self._out = ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._in, self._out, server_side=True)
        self._ahead = b""
        self.live = live

    async def handshake(self) -> None:
        """Complete the handshake, or raise `ssl.SSLError` or `ConnectionError`."""
        while True:
            try:
                self.tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                await self._flush()
                if not await self._fill():
                    raise ConnectionAbortedError("end of stream in handshake") from None
            except ssl.SSLError:
                await self._flush()
                raise
        await self._flush()
        self.live.detail["alpn"] = self.tls.selected_alpn_protocol() or ""
        self.live.detail["version"] = self.tls.version() or ""
        self.live.touch()

    async def read(self) -> bytes:
        """Octets that are there; empty at the end, announced or not."""
        if self._ahead:
            data, self._ahead = self._ahead, b""
            return data
        while True:
            try:
                data = self.tls.read(_CHUNK)
            except ssl.SSLWantReadError:
                await self._flush()
                if not await self._fill():
                    return b""
            except ssl.SSLError:  # close_notify, or a record that is none
                return b""
            else:
                self.live.received(data)
                return data

    async def write(self, data: bytes | memoryview) -> None:
        """Send all of *data*."""
        view = memoryview(data)
        for start in range(0, len(view), _CHUNK):
            piece = view[start : start + _CHUNK]
            self.tls.write(piece)
            await self._flush()
            self.live.sent(len(piece))

    async def end(self) -> None:
        """Send close_notify and close the sending half."""
        with contextlib.suppress(ssl.SSLError):
            self.tls.unwrap()
        with contextlib.suppress(OSError):
            await self._flush()
        await self._lower.end()

    def unread(self, data: bytes) -> None:
        """Put back what was read too far."""
        self._ahead = data + self._ahead

    async def _flush(self) -> None:
        if pending := self._out.read():
            await self._lower.write(pending)

    async def _fill(self) -> bool:
        data = await self._lower.read()
        if not data:
            self._in.write_eof()
            return False
        self._in.write(data)
        return True


class Reader:
    """Lines and exact amounts out of a stream, for the protocols that have them."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._buffer = bytearray()

    async def until(self, mark: bytes, limit: int) -> bytes | None:
        """Octets up to and including *mark*; None if the stream ends first."""
        while (at := self._buffer.find(mark)) < 0:
            if len(self._buffer) > limit or not await self._more():
                return None
        return self._cut(at + len(mark))

    async def upto(self, count: int) -> bytes:
        """Between one and *count* octets; empty at the end of the stream."""
        if not self._buffer:
            await self._more()
        return self._cut(min(count, len(self._buffer)))

    async def exactly(self, count: int) -> bytes | None:
        """Exactly *count* octets; None if the stream ends first."""
        while len(self._buffer) < count:
            if not await self._more():
                return None
        return self._cut(count)

    def rest(self) -> bytes:
        """What was read and not asked for."""
        return self._cut(len(self._buffer))

    def _cut(self, count: int) -> bytes:
        cut = bytes(self._buffer[:count])
        del self._buffer[:count]
        return cut

    async def _more(self) -> bool:
        data = await self._stream.read()
        self._buffer += data
        return bool(data)
