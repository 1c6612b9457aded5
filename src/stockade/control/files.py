"""Files in devboxes, read and written as the user of the devbox may."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator

from stockade.control.devbox_plans import user_of
from stockade.control.devbox_records import Devbox, DevboxRecords
from stockade.control.host import Host
from stockade.errors import Conflict, InvalidRequest

_MAX_PATH = 4_096


class Files:
    """Reads and writes files in running devboxes."""

    def __init__(self, host: Host, records: DevboxRecords) -> None:
        self._host = host
        self._records = records

    async def read(self, devbox: Devbox, path: str) -> AsyncGenerator[bytes, None]:
        """The content of a file, when it is known that it can be read.

        Raises `NotFound` if there is none, `InvalidRequest` for one that is none or is
        not for the user.
        """
        await self._use(devbox, path)
        source = self._host.read_file(devbox.id, path, user_of(devbox.launch).name)
        try:
            first = await anext(source, b"")
        except Conflict as error:
            raise InvalidRequest(str(error)) from None
        return _continued(first, source)

    async def write(
        self, devbox: Devbox, path: str, content: AsyncIterator[bytes]
    ) -> int:
        """Write a file, with its parents; its size."""
        await self._use(devbox, path)
        user = user_of(devbox.launch).name
        try:
            return await self._host.write_file(devbox.id, path, user, content)
        except Conflict as error:
            raise InvalidRequest(str(error)) from None

    async def _use(self, devbox: Devbox, path: str) -> None:
        devbox.require_running()
        if not path or "\0" in path or len(path) > _MAX_PATH:
            raise InvalidRequest("path: the path of a file is required")
        await self._records.touch(devbox.id)


async def _continued(
    first: bytes, rest: AsyncIterator[bytes]
) -> AsyncGenerator[bytes, None]:
    if first:
        yield first
    async for data in rest:
        yield data
