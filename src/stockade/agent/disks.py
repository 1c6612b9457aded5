"""The disks of served devboxes: each a file system of its own size, in a sparse file.

`devboxes/<id>/disk.img` below the data directory is mounted beside itself, at `disk`, in
the mount namespace of this process. So a devbox can fill its disk and no other, and a
copy of it is a copy of a file: what is in it is never walked through on the host.
"""

from __future__ import annotations

import errno
import os
import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from stockade.command import run
from stockade.errors import CommandError, NotFound, Unavailable
from stockade.hosting import SnapshotId
from stockade.runtime import overlay, syscalls
from stockade.spec import DevboxId

#: What the names of devboxes begin with that are made ahead, and nobody's yet.
AHEAD: Final = "ahead-"

_DISK, _MOUNTED, _IMAGE = "disk.img", "disk", "image"
_PART = ".part"
# No journal: what a machine that lost its power had running is not started again.
_FORMAT = ("-q", "-F", "-m", "0", "-O", "^has_journal", "-E", "lazy_itable_init=1")
_TIME_LIMIT = 600.0
# What e2fsck exits with when it has set something right.
_CORRECTED = 1
# A kernel lets go of an overlay a moment after its last process has ended.
_BUSY_SECONDS = 10.0


class Disks:
    """The disks and snapshots below one data directory. All calls block."""

    def __init__(self, data_dir: Path) -> None:
        self._devboxes = data_dir / "devboxes"
        self._snapshots = data_dir / "snapshots"

    def recover(self) -> None:
        """Make the directories, and delete what was half made when a server ended."""
        for place in (self._devboxes, self._snapshots):
            place.mkdir(mode=0o711, parents=True, exist_ok=True)
            place.chmod(0o711)
            for ahead in place.glob(f"{AHEAD}*"):
                overlay.delete(ahead)
            for part in (*place.glob(f"*{_PART}"), *place.glob(f"*/*{_PART}")):
                part.unlink()

    def place(self, devbox: DevboxId) -> Path:
        """The directory of a devbox, for all that is kept of it."""
        return self._devboxes / devbox

    def devboxes(self) -> frozenset[DevboxId]:
        """Which devboxes have anything here."""
        names = (path.name for path in self._devboxes.iterdir())
        return frozenset(DevboxId(n) for n in names if not n.startswith(AHEAD))

    def claim(self, ahead: DevboxId, devbox: DevboxId, image: str) -> None:
        """Make a mounted disk that was made ahead that of a devbox."""
        place = self.place(devbox)
        self.place(ahead).rename(place)
        (place / _IMAGE).write_text(image)

    def has(self, devbox: DevboxId) -> bool:
        """Whether a devbox has a disk."""
        return (self.place(devbox) / _DISK).exists()

    def image_of(self, devbox: DevboxId) -> str | None:
        """The digest of the image that a disk was begun on; None without a disk."""
        with suppress(FileNotFoundError):
            return (self.place(devbox) / _IMAGE).read_text()
        return None

    def snapshot_image(self, snapshot: SnapshotId) -> str:
        """The digest of the image that a snapshot lies on. Raises `NotFound`."""
        try:
            return (self._snapshots / f"{snapshot}.{_IMAGE}").read_text()
        except FileNotFoundError:
            raise NotFound(f"there is no snapshot {snapshot} on this host") from None

    def make(
        self, devbox: DevboxId, size: int, image: str, snapshot: SnapshotId | None
    ) -> None:
        """Make the disk of a devbox: empty, of *size* bytes, or a copy of *snapshot*."""
        place = self.place(devbox)
        place.mkdir(mode=0o711, exist_ok=True)
        part = place / f"{_DISK}{_PART}"
        try:
            if snapshot is None:
                _format(part, size)
            else:
                _copy(self._snapshots / snapshot, part)
                _enlarge(part, size)
            (place / _IMAGE).write_text(image)
            part.rename(place / _DISK)
        finally:
            part.unlink(missing_ok=True)

    def mount(self, devbox: DevboxId) -> Path:
        """Mount the disk of a devbox and return where."""
        place = self.place(devbox)
        mounted = place / _MOUNTED
        mounted.mkdir(mode=0o700, exist_ok=True)
        argv = ["mount", "-t", "ext4", "-o", "loop,nodev,nosuid,noatime"]
        try:
            run([*argv, str(place / _DISK), str(mounted)])
        except CommandError as error:
            raise Unavailable(
                f"the disk of {devbox} cannot be mounted: {error.stderr.strip()}; "
                "`stockade doctor` says whether this machine has loop devices"
            ) from None
        # What an overlay leaves that was not to be waited for; this one was, by unmounting.
        shutil.rmtree(mounted / "work" / "work" / "incompat", ignore_errors=True)
        return mounted

    def unmount(self, devbox: DevboxId) -> None:
        """Unmount the disk of a devbox, all written; it may be unmounted already."""
        mounted = self.place(devbox) / _MOUNTED
        deadline = time.monotonic() + _BUSY_SECONDS
        while mounted.is_mount():
            try:
                # Not lazily: it is not to be mounted twice.
                syscalls.unmount(mounted, 0)
            except OSError as error:
                if error.errno != errno.EBUSY or time.monotonic() > deadline:
                    raise
                time.sleep(0.005)

    def delete(self, devbox: DevboxId) -> None:
        """Delete all that is kept of a devbox. It may be gone already."""
        overlay.delete(self.place(devbox))

    def snapshot(self, devbox: DevboxId, snapshot: SnapshotId) -> int:
        """Copy the disk of a devbox in which nothing writes; return the bytes in use."""
        place, target = self.place(devbox), self._snapshots / snapshot
        image = self.image_of(devbox)
        if image is None or not self.has(devbox):
            raise NotFound(f"{devbox} has no disk on this host")
        mounted = place / _MOUNTED
        if mounted.is_mount():
            _sync(mounted)
        part = target.with_name(f"{snapshot}{_PART}")
        try:
            _copy(place / _DISK, part)
            target.with_name(f"{snapshot}.{_IMAGE}").write_text(image)
            part.rename(target)
        finally:
            part.unlink(missing_ok=True)
        return target.stat().st_blocks * 512

    def delete_snapshot(self, snapshot: SnapshotId) -> None:
        """Delete a snapshot. It may be gone already."""
        (self._snapshots / snapshot).unlink(missing_ok=True)
        (self._snapshots / f"{snapshot}.{_IMAGE}").unlink(missing_ok=True)

    def snapshots(self) -> frozenset[SnapshotId]:
        """Which snapshots are complete."""
        return frozenset(
            SnapshotId(path.name)
            for path in self._snapshots.iterdir()
            if not path.suffix
        )


def _format(path: Path, size: int) -> None:
    # For us only; a copy has the same mode.
    descriptor = os.open(
        path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600
    )
    try:
        os.ftruncate(descriptor, size)
    finally:
        os.close(descriptor)
    try:
        run(["mkfs.ext4", *_FORMAT, str(path)], timeout=_TIME_LIMIT)
    except CommandError as error:
        raise Unavailable(f"cannot make a disk: {error.stderr.strip()}") from None


def _copy(source: Path, target: Path) -> None:
    """Copy a sparse file: only what is in it, or nothing where file systems can share."""
    argv = ["cp", "--sparse=always", "--reflink=auto", "--", str(source), str(target)]
    try:
        run(argv, timeout=_TIME_LIMIT)
    except CommandError as error:
        raise Unavailable(f"cannot copy a disk: {error.stderr.strip()}") from None


def _enlarge(path: Path, size: int) -> None:
    """Give a file system more room; one that has as much stays as it is."""
    if size <= path.stat().st_size:
        return
    try:
        # The copy of one that was mounted is not marked as clean, though it is whole.
        run(["e2fsck", "-fy", str(path)], timeout=_TIME_LIMIT)
    except CommandError as error:
        if error.status != _CORRECTED:
            raise Unavailable(
                f"cannot enlarge a disk: {error.stderr.strip()}"
            ) from None
    os.truncate(path, size)
    try:
        run(["resize2fs", str(path)], timeout=_TIME_LIMIT)
    except CommandError as error:
        raise Unavailable(f"cannot enlarge a disk: {error.stderr.strip()}") from None


def _sync(mounted: Path) -> None:
    """Have everything written to the file."""
    descriptor = os.open(mounted, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        syscalls.syncfs(descriptor)
    finally:
        os.close(descriptor)
