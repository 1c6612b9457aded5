"""Contents of storage objects, each a file in one directory.

File names are ids that we made, never a name that a client chose.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO, Final

from stockade.control.ids import Chance
from stockade.errors import InvalidRequest, Unavailable

_PIECE: Final = 1 << 18


class Blobs:
    """A directory of contents. `start` it before use."""

    def __init__(self, directory: Path, limit: int, chance: Chance) -> None:
        self._directory = directory
        self._limit = limit
        self._chance = chance

    def start(self) -> None:
        """Make the directory, and remove what uploads that ended early have left."""
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            for path in self._directory.glob("*.part"):
                path.unlink()
        except OSError as error:
            raise Unavailable(f"{self._directory}: {error.strerror}") from None

    async def write(self, blob: str, content: AsyncIterator[bytes]) -> int:
        """Write a content, whole or not at all; its size."""
        part = self._directory / f"{blob}.{self._chance(8).hex()}.part"
        try:
            return await self._write(part, self._directory / blob, content)
        except OSError as error:
            raise Unavailable(f"cannot keep the content: {error.strerror}") from None
        finally:
            await asyncio.to_thread(part.unlink, missing_ok=True)

    async def read(self, blob: str) -> AsyncIterator[bytes]:
        """A content, piece by piece; nothing if nothing was uploaded."""
        try:
            file = await asyncio.to_thread(open, self._directory / blob, "rb")
        except FileNotFoundError:
            return
        try:
            while piece := await asyncio.to_thread(file.read, _PIECE):
                yield piece
        finally:
            file.close()

    def size(self, blob: str) -> int:
        """The size of a content in bytes."""
        try:
            return (self._directory / blob).stat().st_size
        except FileNotFoundError:
            return 0

    def delete(self, blob: str) -> None:
        """Delete a content, if there is one."""
        try:
            (self._directory / blob).unlink(missing_ok=True)
        except OSError as error:
            raise Unavailable(f"cannot delete the content: {error.strerror}") from None

    async def _write(
        self, part: Path, final: Path, content: AsyncIterator[bytes]
    ) -> int:
        size = 0
        pending = bytearray()
        with await asyncio.to_thread(open, part, "xb") as file:
            async for piece in content:
                size += len(piece)
                if size > self._limit:
                    raise InvalidRequest(
                        f"the content is larger than {self._limit} bytes"
                    ).coded("object_too_large", limit=self._limit)
                pending += piece
                if len(pending) >= _PIECE:
                    await asyncio.to_thread(file.write, bytes(pending))
                    pending.clear()
            await asyncio.to_thread(_finish, file, bytes(pending))
        await asyncio.to_thread(part.replace, final)
        return size


def _finish(file: BinaryIO, rest: bytes) -> None:
    file.write(rest)
    file.flush()
    os.fsync(file.fileno())
