"""Takes boxes away, from what their directories say and the kernel knows.

Nothing here needs the process that made the box: `remove` works after a crash, on a box
that is half made, and a second time.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from stockade.errors import Conflict
from stockade.runtime import cgroups, idrange, overlay
from stockade.runtime.oci import OciDriver
from stockade.runtime.processes import kill_all, of_devbox, of_runtime
from stockade.runtime.record import BoxRecord, load

_LOCK_PATIENCE = 30.0
_LOCK_CHECK_SECONDS = 0.01
_FORGOTTEN_SECONDS = 60.0
_LOCK = "lock"

#: The file on a devbox's disk that names its box directory.
OWNER = "box"


def hold(directory: Path) -> int:
    """Mark *directory* as in use by this process, as long as the descriptor is open.

    The mark appears with its lock held: nobody sees a box without an owner meanwhile.
    """
    scratch = directory / f".{_LOCK}"
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    descriptor = os.open(scratch, flags, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    scratch.rename(directory / _LOCK)
    return descriptor


def abandoned(run_dir: Path) -> Iterator[Path]:
    """Yield the box directories in *run_dir* whose owner is gone."""
    for lock in sorted(run_dir.resolve().glob(f"*/{_LOCK}")):
        with suppress(FileNotFoundError, BlockingIOError), _locked(lock):
            yield lock.parent


def sweep(run_dir: Path) -> list[Path]:
    """Remove every box in *run_dir* whose owner is gone; return what was removed."""
    swept = []
    for directory in abandoned(run_dir):
        dispose(directory)
        swept.append(directory)
    for directory in run_dir.iterdir():
        # Killed between the lock and the directory, at one end of a box's life.
        with suppress(OSError):
            if time.time() - directory.stat().st_mtime > _FORGOTTEN_SECONDS:
                directory.rmdir()
    return swept


def sweep_disks(disks: Path) -> None:
    """Delete the disks whose box directory is gone, as it is after a reboot."""
    for owner in disks.glob(f"*/{OWNER}"):
        with suppress(FileNotFoundError):
            # Empty: being made. A directory is there before its disk, and goes after it.
            directory = owner.read_text()
            if directory and not Path(directory).exists():
                overlay.delete(owner.parent)


def remove(directory: Path) -> None:
    """End a box whose owner is gone and remove all that belongs to it. Safe to repeat.

    Waits for who removes it at the same time. An owner that lives is a `Conflict`.
    """
    directory = directory.resolve()
    deadline = time.monotonic() + _LOCK_PATIENCE
    while directory.exists():
        try:
            with _locked(directory / _LOCK):
                dispose(directory)
        except FileNotFoundError:
            # Killed before it could mark the directory, or somebody else removes it:
            # every step may be made twice.
            dispose(directory)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise Conflict(f"{directory} is in use by a running stockade") from None
            time.sleep(_LOCK_CHECK_SECONDS)


def dispose(directory: Path) -> None:
    """End a box and remove all that belongs to it, without asking for its owner."""
    if not directory.exists():
        return
    record = load(directory)
    if record is not None:
        # A runtime in the middle of its work would make anew what is taken away.
        kill_all(of_runtime(directory / "oci"))
        if record.cgroup:
            cgroups.detect().kill(record.cgroup)
        kill_all(of_devbox(record.id_base))
    dismantle(directory, record)


def dismantle(directory: Path, record: BoxRecord | None) -> None:
    """Remove a box without processes: what it has outside, then its directory."""
    if record is not None:
        _remove_outside(directory, record)
    # The lock goes last: without it nobody would look at the rest again.
    overlay.delete(directory, last=_LOCK)


def _remove_outside(directory: Path, record: BoxRecord) -> None:
    driver = OciDriver(record.program, directory / "oci", cgroups=bool(record.cgroup))
    if driver.needs_delete:
        driver.delete(record.container)
    if record.cgroup:
        cgroups.detect().remove(record.cgroup)
    disk = Path(record.disk)
    if not disk.is_relative_to(directory) and not record.keep_disk:
        overlay.unmount_all(directory)
        overlay.delete(disk)
    idrange.release(Path(record.reservation), directory)


@contextmanager
def _locked(lock: Path) -> Iterator[None]:
    """Hold an existing lock file; `BlockingIOError` if somebody else does."""
    descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)
