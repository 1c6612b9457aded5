"""What keeps an image or a layer from being collected.

A lease is a shared lock on the file that describes it, for as long as a process has a use
for it; the kernel lets go of it however the process ends. A disk that outlives the process
is written into the image's file `uses`, and counts for as long as the disk exists.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_USES = "uses"
# Lines of disks that are gone are dropped when the file has grown by so much.
_COMPACT_FROM = 64 << 10


class Lease:
    """A hold on what *file* describes, until it is closed or forgotten."""

    __slots__ = ("_descriptor", "_file")

    def __init__(self, file: Path, descriptor: int) -> None:
        self._file = file
        self._descriptor = descriptor

    def keep(self, owner: Path) -> None:
        """Keep it for as long as the path *owner* exists, whatever becomes of us."""
        line = json.dumps(str(owner.resolve())) + "\n"
        uses = self._file.parent / _USES
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        with open(os.open(uses, flags, 0o600), "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if file.seek(0, os.SEEK_END) > _COMPACT_FROM:
                living = "".join(json.dumps(path) + "\n" for path in users(uses.parent))
                file.truncate(0)
                file.write(living.encode())
            file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())

    def close(self) -> None:
        """Let go. Safe to call twice."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __del__(self) -> None:
        self.close()


def hold(file: Path) -> Lease | None:
    """Take a lease on what *file* describes; None if it is not there any more."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    lease = Lease(file, descriptor)
    # Waits at most for a collector to look who uses it.
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    if is_same(descriptor, file):
        return lease
    lease.close()
    return None


@contextmanager
def claim(file: Path) -> Iterator[bool]:
    """Whether nobody holds a lease on what *file* describes; nobody gets one meanwhile."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield False
        return
    try:
        claimed = False
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            claimed = is_same(descriptor, file)
        yield claimed
    finally:
        os.close(descriptor)


def users(place: Path) -> list[str]:
    """The paths that the image in *place* is kept for, and that exist."""
    try:
        lines = (place / _USES).read_text().splitlines()
    except FileNotFoundError:
        return []
    found = []
    for line in lines:
        with suppress(ValueError):  # a line that a power cut has cut
            path = json.loads(line)
            if isinstance(path, str) and os.path.lexists(path):
                found.append(path)
    return sorted(set(found))


def is_same(descriptor: int, file: Path) -> bool:
    """Whether an open file is still the one at *file*."""
    try:
        there = file.stat()
    except FileNotFoundError:
        return False
    ours = os.fstat(descriptor)
    return (ours.st_dev, ours.st_ino) == (there.st_dev, there.st_ino)
