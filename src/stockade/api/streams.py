"""Streams of server-sent events, with a comment now and then when nothing happens.

There are no `id:` lines: with one, the official client takes a comment for an event.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any, Final, Generic, TypeVar

from starlette.responses import StreamingResponse

from stockade.control.tasks import Tasks
from stockade.errors import StockadeError

T = TypeVar("T")

#: The official client gives up on a stream that is silent for 30 seconds.
SILENCE: Final = 15.0
_WAITING: Final = 16


def event(data: Mapping[str, Any], name: str | None = None) -> bytes:
    """One event."""
    head = "" if name is None else f"event: {name}\n"
    return f"{head}data: {json.dumps(data)}\n\n".encode()


def event_stream(content: AsyncGenerator[bytes, None]) -> StreamingResponse:
    """The response that sends *content* as it comes."""
    return StreamingResponse(
        content,
        media_type="text/event-stream",
        headers={"cache-control": "no-store", "x-accel-buffering": "no"},
    )


async def silent() -> AsyncGenerator[bytes, None]:
    """A stream in which nothing happens, and that stays open."""
    while True:
        yield b": nothing as yet\n\n"
        await asyncio.sleep(SILENCE)


class _Pump(Generic[T]):
    """Takes from a source in a task of its own, so that waiting for it can be given up."""

    def __init__(self, source: AsyncGenerator[T, None]) -> None:
        self._source = source
        self.queue: asyncio.Queue[tuple[T] | StockadeError | None] = asyncio.Queue(
            _WAITING
        )

    async def run(self) -> None:
        """Take from the source to its end."""
        try:
            async with aclosing(self._source) as source:
                async for item in source:
                    await self.queue.put((item,))
        except StockadeError as error:
            await self.queue.put(error)
        else:
            await self.queue.put(None)


async def with_silences(
    source: AsyncGenerator[T, None], tasks: Tasks, seconds: float = SILENCE
) -> AsyncGenerator[T | None, None]:
    """What *source* yields, and None whenever it has yielded nothing for a while."""
    pump = _Pump(source)
    task = tasks.start(pump.run(), "a stream")
    try:
        while True:
            try:
                async with asyncio.timeout(seconds):
                    found = await pump.queue.get()
            except TimeoutError:
                yield None
                continue
            if found is None:
                return
            if isinstance(found, StockadeError):
                raise found
            yield found[0]
    finally:
        task.cancel()
