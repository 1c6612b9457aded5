"""Waiting until something about a resource changes, instead of asking all the time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


class Changes:
    """Wakes those who wait for a resource. Of one process: the database is the truth."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[asyncio.Event]] = {}

    def tell(self, key: str) -> None:
        """Something about *key* has changed, and is committed."""
        for event in self._waiting.get(key, ()):
            event.set()

    async def until(
        self, key: str, seconds: float, look: Callable[[], Awaitable[T | None]]
    ) -> T | None:
        """What *look* finds, as soon as it finds something; None after *seconds*."""
        event = asyncio.Event()
        waiting = self._waiting.setdefault(key, set())
        waiting.add(event)
        try:
            deadline = asyncio.get_running_loop().time() + seconds
            while True:
                event.clear()
                if (found := await look()) is not None:
                    return found
                try:
                    async with asyncio.timeout_at(deadline):
                        await event.wait()
                except TimeoutError:
                    return None
        finally:
            waiting.discard(event)
            if not waiting and self._waiting.get(key) is waiting:
                del self._waiting[key]
