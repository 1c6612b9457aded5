"""Directories that appear by one rename when they are complete.

What is being made has a name with a leading dot. It is swept by whoever makes the same
next, under its lock, so that what was interrupted leaves nothing for long.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from stockade.errors import Unavailable
from stockade.runtime import overlay
from stockade.runtime.leases import is_same

_LOCK_CHECK_SECONDS = 0.2
#: What a system call says when a disk is full, or a quota.
FULL = (errno.ENOSPC, errno.EDQUOT)
_SPARE = 256 << 20
_SCRATCH, _LOCK, _OLD = ".new-", ".lock-", ".old-"

Report = Callable[[float, str], None]


class Publisher:
    """Makes directories in *directory*, which is closed to other users of the machine.

    *report* is told a fraction and a text, and raises when the work is to end.
    """

    def __init__(self, directory: Path, report: Report) -> None:
        self._directory = directory
        self._report = report

    def publish(
        self, name: str, fill: Callable[[Path], None], kept: Collection[str]
    ) -> Path:
        """Let *fill* make what is *kept* in a scratch directory, and rename that."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory.chmod(0o700)
        target = self._directory / name
        with self._locked(name):
            if target.is_dir():
                return target  # somebody else has made it while we waited
            for stale in self._directory.glob(f"{_SCRATCH}{name}-*"):
                overlay.delete(stale)
            place = self._directory / f"{_SCRATCH}{name}-{os.urandom(4).hex()}"
            place.mkdir(mode=0o700)
            try:
                fill(place)
                for entry in place.iterdir():
                    if entry.name not in kept:
                        overlay.delete(entry)
                # A power cut must not leave the name without the contents.
                os.sync()
                place.rename(target)
            except BaseException as error:
                overlay.delete(place)
                if isinstance(error, OSError) and error.errno in FULL:
                    raise full(self._directory) from None
                raise
        return target

    @contextlib.contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        """Hold the lock of one name; wait for who makes it at the same time."""
        path = self._directory / f"{_LOCK}{name}"
        while True:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
            descriptor = os.open(path, flags, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if is_same(descriptor, path):
                    break
            except BlockingIOError:
                self._report(0.0, "waiting for another stockade to make the image")
                time.sleep(_LOCK_CHECK_SECONDS)
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)
        try:
            yield
        finally:
            os.close(descriptor)


def retire(place: Path) -> Path:
    """Take away the name of *place*; what is returned is to be deleted."""
    old = place.with_name(f"{_OLD}{place.name}-{os.urandom(4).hex()}")
    place.rename(old)
    return old


def abandoned(directory: Path) -> Iterator[Path]:
    """Yield what interrupted work has left in *directory*, while it is locked."""
    yield from directory.glob(f"{_OLD}*")
    for lock in directory.glob(f"{_LOCK}*"):
        name = lock.name.removeprefix(_LOCK)
        with contextlib.suppress(FileNotFoundError, BlockingIOError):
            descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                yield from directory.glob(f"{_SCRATCH}{name}-*")
                # Whoever waits for this lock sees that the file is not there any more.
                lock.unlink()
            finally:
                os.close(descriptor)


def room(directory: Path) -> int:
    """How many bytes may be written below *directory*: some stay for everybody else."""
    space = os.statvfs(directory)
    spare = min(_SPARE, space.f_blocks * space.f_frsize // 20)
    return max(0, space.f_bavail * space.f_frsize - spare)


def full(directory: Path) -> Unavailable:
    """Say that there is no more room."""
    return Unavailable(
        f"no space is left below {directory}: what was begun is deleted; "
        "`stockade image prune` frees what nothing uses"
    )
