"""Both directions between a client and its upstream."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from stockade.gateway.pump import PipePool, Pump
from stockade.gateway.sides import Side
from stockade.gateway.upstream import keep_alive


class Relay:
    """Two pumps, and what passes beside them.

    They start separately: a server may speak while the client's first bytes are judged.
    """

    def __init__(self, pool: PipePool, client: Side, upstream: Side) -> None:
        self._pool = pool
        self._client = client
        self._upstream = upstream
        self._open = 2
        self._done: asyncio.Future[None] = client.loop.create_future()
        self._up: Pump | None = None
        self.down = Pump(pool, upstream, client, self._down_ended)
        # Bytes that passed other than through the pumps.
        self._sent = 0
        self._received = 0

    @property
    def bytes_up(self) -> int:
        """Bytes that the client's side sent."""
        return self._sent + (self._up.moved if self._up else 0)

    @property
    def bytes_down(self) -> int:
        """Bytes that the client's side received."""
        return self._received + self.down.moved

    @property
    def is_half_open(self) -> bool:
        """Whether one direction has ended."""
        return self._open == 1

    def keep_alive(self) -> None:
        """Have the upstream probed from here on, so that one that is gone is noticed."""
        keep_alive(self._upstream.sock)

    def start_up(self, before: Callable[[], None] | None = None) -> None:
        """Let the client's bytes pass from here on."""
        self._up = Pump(
            self._pool, self._client, self._upstream, self._up_ended, before
        )
        self._up.start()

    async def send(self, data: bytes) -> None:
        """Send bytes of the client that were read to be judged."""
        if data:
            await self._upstream.send_all(data)
            self._sent += len(data)

    async def receive(self, data: bytes) -> None:
        """Send bytes of the upstream, read by the caller, to the client."""
        if data:
            await self._client.send_all(data)
            self._received += len(data)

    def end_up(self) -> None:
        """Tell the upstream that the client has ended."""
        self._up_ended(None)

    def _up_ended(self, error: OSError | None) -> None:
        self._direction_ended(self._upstream, error)

    def _down_ended(self, error: OSError | None) -> None:
        self._direction_ended(self._client, error)

    def _direction_ended(self, target: Side, error: OSError | None) -> None:
        """Pass the end of one direction on; an error ends both."""
        self._open -= 1
        if self._done.done():
            return
        if error is None:
            try:
                target.end()
            except OSError as problem:
                error = problem
        if error is not None:
            self._done.set_exception(error)
        elif not self._open:
            self._done.set_result(None)

    async def wait(self) -> None:
        """Wait for both directions to end. Raises the `OSError` that ended one."""
        await self._done

    def stop(self) -> None:
        """Stop moving bytes."""
        self.down.stop()
        if self._up is not None:
            self._up.stop()
        if not self._done.done():
            self._done.cancel()
        elif not self._done.cancelled():
            self._done.exception()  # Seen: nobody may be waiting for it any more.
