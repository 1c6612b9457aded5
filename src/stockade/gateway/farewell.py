"""The end of a connection that is told why it ends."""

from __future__ import annotations

import asyncio
import contextlib
import socket

_LINGER = 1.0
_DRAIN = 65_536


async def say_and_end(client: socket.socket, message: bytes) -> None:
    """Send *message* and end the stream, then let the client read it.

    Closing at once, with unread bytes of the client, would send a reset that overtakes the
    message. Raises `OSError` when the client is gone.
    """
    loop = asyncio.get_running_loop()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_LINGER):
            await loop.sock_sendall(client, message)
            client.shutdown(socket.SHUT_WR)
            while await loop.sock_recv(client, _DRAIN):
                pass
