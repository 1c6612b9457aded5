"""Takes boxes away, from what their directories say and the kernel knows.

Nothing here needs the process that made the box: `remove` works after a crash, on a box
that is half made, and a second time.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
from collections.abc import Iterator
from pathlib import Path

from stockade.runtime import cgroups, idrange, overlay
from stockade.runtime.oci import OciDriver
from stockade.runtime.record import BoxRecord, load

_PATIENCE_MS = 5000
_LOCK = "lock"


def hold(directory: Path) -> int:
    """Mark *directory* as in use by this process, as long as the descriptor is open."""
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
    descriptor = os.open(directory / _LOCK, flags, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return descriptor


def abandoned(run_dir: Path) -> Iterator[Path]:
    """Yield the box directories in *run_dir* whose owner is gone."""
    for lock in sorted(run_dir.glob(f"*/{_LOCK}")):
        try:
            descriptor = hold(lock.parent)
        except (BlockingIOError, FileNotFoundError):
            continue
        os.close(descriptor)
        yield lock.parent


def sweep(run_dir: Path) -> list[Path]:
    """Remove every box in *run_dir* whose owner is gone; return what was removed."""
    swept = list(abandoned(run_dir))
    for directory in swept:
        remove(directory)
    return swept


def remove(directory: Path) -> None:
    """End a box and remove all that belongs to it. Safe to repeat."""
    if not directory.exists():
        return
    record = load(directory)
    if record is not None:
        kill_processes(record.id_base)
        dismantle(directory, record)
    overlay.delete(directory)


def dismantle(directory: Path, record: BoxRecord) -> None:
    """Remove what a box without processes has outside its directory."""
    driver = OciDriver(record.program, directory / "oci", cgroups=bool(record.cgroup))
    if driver.needs_delete:
        driver.delete(record.container)
    if record.cgroup:
        cgroups.detect().remove(record.cgroup)
    overlay.unmount_all(directory)
    overlay.delete(Path(record.disk))
    idrange.release(Path(record.reservation), directory)


def kill_processes(base: int) -> None:
    """Kill every process whose user namespace begins at *base*, and see it end."""
    while found := list(_processes(base)):
        poll = select.poll()
        for descriptor in found:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            poll.register(descriptor, select.POLLIN)
        ended = poll.poll(_PATIENCE_MS)
        for descriptor in found:
            os.close(descriptor)
        if not ended:
            raise TimeoutError(f"processes with ids from {base} on do not end")


def _processes(base: int) -> Iterator[int]:
    """Yield descriptors of the processes that belong to the ids from *base* on.

    The map is read again after the descriptor is open: pids are reused, the descriptor
    is not.
    """
    for path in Path("/proc").glob("[0-9]*"):
        name = path.name
        if not _belongs(name, base):
            continue
        try:
            descriptor = os.pidfd_open(int(name))
        except (ProcessLookupError, OSError):
            continue
        if _belongs(name, base):
            yield descriptor
        else:
            os.close(descriptor)


def _belongs(pid: str, base: int) -> bool:
    try:
        fields = Path(f"/proc/{pid}/uid_map").read_text().split()
    except OSError:
        return False
    state = _state(pid)
    return fields[:2] == ["0", str(base)] and state not in {"Z", "X"}


def _state(pid: str) -> str:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return "X"
    return stat.rpartition(")")[2].split()[0]
