"""The end of a connection that is told why it ends."""

from __future__ import annotations

import asyncio
import contextlib

from stockade.gateway.sides import Side

_LINGER = 1.0
_DRAIN = 65_536


async def say_and_end(client: Side, message: bytes) -> None:
    """Send *message* and end the stream, then let the client read it.

    Closing at once, with unread bytes of the client, would send a reset that overtakes the
    message. Raises `OSError` when the client is gone.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_LINGER):
            await client.send_all(message)
            client.end()
            while await client.receive(_DRAIN):
                pass
