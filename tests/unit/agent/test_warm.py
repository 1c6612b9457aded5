"""Devboxes made ahead: the end of the server while one is being made."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from stockade.agent.warm import WarmPool
from stockade.runtime.images import Image


class Images:
    """A store with one image."""

    def find(self, _reference: str) -> Image:
        return Image("digest", ())


class Disks:
    """Disks that take their time, and cannot be deleted."""

    def __init__(self) -> None:
        self.making = threading.Event()
        self.go_on = threading.Event()
        self.made = False
        self.deleted_while_made = False

    def make(self, *_: object) -> None:
        self.making.set()
        self.go_on.wait(30)
        self.made = True

    def delete(self, _name: str) -> None:
        self.deleted_while_made = not self.made
        raise OSError(39, "Directory not empty")


def test_it_ends_though_a_devbox_is_being_made() -> None:
    async def main() -> None:
        disks = Disks()
        images: Any = Images()
        slow: Any = disks
        agent: Any = None
        pool = WarmPool(agent, images, slow, 1)
        pool.start()
        await asyncio.to_thread(disks.making.wait, 30)
        ending = asyncio.create_task(pool.stop())
        await asyncio.sleep(0)
        disks.go_on.set()
        async with asyncio.timeout(30):
            await ending
        assert disks.made
        assert not disks.deleted_while_made

    asyncio.run(main())
