"""One output of an execution in files: its beginning, and its end when it is long.

The beginning is a file that only grows; the end a ring of one MiB. What was between is
not kept. All is done by small calls to the page cache, in the event loop.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

from stockade.errors import NotFound, Unavailable

#: How much of the end of a long output is kept.
TAIL = 1 << 20


class Output:
    """One stream, at *path*. Of its *size* bytes the first *kept* are in the file.

    *take_room* is asked for room for so many bytes more, and says for how many there is.
    """

    def __init__(
        self,
        path: Path,
        size: int = 0,
        kept: int = 0,
        ring_from: int = 0,
        *,
        take_room: Callable[[int], int] | None = None,
    ) -> None:
        self.size = size
        self.kept = kept
        #: Where what is in the ring begins.
        self.ring_from = max(kept, ring_from)
        self._path = path
        self._ring_path = path.with_name(f"{path.name}-end")
        self._take_room = take_room
        self._file = self._ring = -1

    def append(self, data: bytes) -> None:
        """Add *data*, at most a MiB. A full disk loses it, and harms nobody else."""
        room = self._take_room(len(data)) if self._take_room is not None else 0
        written = self._append_beginning(data[:room]) if room else 0
        if written < len(data):
            self._take_room = None
            self._append_end(self.size + written, data[written:])
        self.size += len(data)

    def read(self, offset: int, limit: int) -> bytes:
        """At most *limit* bytes from *offset* on.

        Raises `Unavailable` for a part that was not kept, `NotFound` when none is.
        """
        if offset >= self.size or limit <= 0:
            return b""
        if offset < self.kept:
            return _read(self._path, offset, min(limit, self.kept - offset))
        first = max(self.ring_from, self.size - TAIL)
        if offset < first:
            raise Unavailable(
                f"this output is too long to be kept whole: of its {self.size} bytes "
                f"the first {self.kept} are, and the last from {first} on"
            )
        place = offset % TAIL
        count = min(limit, self.size - offset, TAIL - place)
        return _read(self._ring_path, place, count)

    def close(self) -> None:
        """Nothing is added any more."""
        for descriptor in (self._file, self._ring):
            if descriptor >= 0:
                os.close(descriptor)
        self._file = self._ring = -1
        self._take_room = None

    def _append_beginning(self, data: bytes) -> int:
        if self._file < 0:
            self._file = _open(self._path, os.O_APPEND)
        written = _write(self._file, data, None)
        self.kept = self.ring_from = self.kept + written
        return written

    def _append_end(self, offset: int, data: bytes) -> None:
        if self._ring < 0:
            self._ring = _open(self._ring_path, 0)
        place = offset % TAIL
        first = data[: TAIL - place]
        written = _write(self._ring, first, place)
        written += _write(self._ring, data[len(first) :], 0)
        if written < len(data):
            self.ring_from = offset + len(data)


def _open(path: Path, flags: int) -> int:
    with contextlib.suppress(OSError):
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | flags, 0o600)
    return -1


def _write(descriptor: int, data: bytes, place: int | None) -> int:
    """Write *data* at *place*, or at the end, as far as that is possible."""
    written = 0
    with contextlib.suppress(OSError):
        while written < len(data):
            rest = data[written:]
            if place is None:
                written += os.write(descriptor, rest)
            else:
                written += os.pwrite(descriptor, rest, place + written)
    return written


def _read(path: Path, offset: int, count: int) -> bytes:
    # Opened each time: a follower that waits holds no descriptor.
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise NotFound("this output is not kept any more") from None
    try:
        return os.pread(descriptor, count, offset)
    finally:
        os.close(descriptor)
