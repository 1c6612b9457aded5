"""Finds processes by what the kernel knows of them, and ends them.

For boxes whose owner was killed, and for what a runtime left that failed: nobody has a
descriptor of such processes, and pids are reused, so each is looked at again once it can
no longer be another one.
"""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from pathlib import Path

from stockade.errors import Unavailable

_PATIENCE_MS = 5000

Belongs = Callable[[Path], bool]


def kill_all(belongs: Belongs) -> None:
    """Kill every process whose directory in /proc *belongs*, and see it end."""
    while found := list(_descriptors(belongs)):
        poll = select.poll()
        for descriptor in found:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            poll.register(descriptor, select.POLLIN)
        ended = poll.poll(_PATIENCE_MS)
        for descriptor in found:
            os.close(descriptor)
        if not ended:
            raise Unavailable(f"{len(found)} processes of a devbox do not end")


def of_devbox(base: int) -> Belongs:
    """Match the processes in the user namespace of the ids from *base* on."""
    beginning = ["0", str(base)]

    def belongs(process: Path) -> bool:
        return (process / "uid_map").read_text().split()[:2] == beginning

    return belongs


def of_runtime(root: Path) -> Belongs:
    """Match the container runtimes that keep their state in *root*."""
    wanted = f"\0--root\0{root}\0".encode()

    def belongs(process: Path) -> bool:
        return wanted in (process / "cmdline").read_bytes()

    return belongs


def reap_strays(init: int, known: Collection[int]) -> None:
    """Kill and reap our children beside *init* in its namespace that are not *known*."""
    with suppress(OSError):
        namespace = Path(f"/proc/{init}/ns/pid").readlink()
        for process in Path("/proc").glob("[0-9]*"):
            if int(process.name) == init or int(process.name) in known:
                continue
            with suppress(OSError, IndexError):
                fields = (process / "stat").read_text().rpartition(")")[2].split()
                ours = int(fields[1]) == os.getpid()
                if ours and (process / "ns/pid").readlink() == namespace:
                    # A child that was not reaped is no other process.
                    os.kill(int(process.name), signal.SIGKILL)
                    os.waitid(os.P_PID, int(process.name), os.WEXITED)


def _descriptors(belongs: Belongs) -> Iterator[int]:
    """Yield a descriptor of each process that belongs and has not ended."""
    for process in Path("/proc").glob("[0-9]*"):
        if not _is_alive(process, belongs):
            continue
        with suppress(OSError):
            descriptor = os.pidfd_open(int(process.name))
            if _is_alive(process, belongs):
                yield descriptor
            else:
                os.close(descriptor)


def _is_alive(process: Path, belongs: Belongs) -> bool:
    try:
        state = (process / "stat").read_text().rpartition(")")[2].split()[0]
        return state not in {"Z", "X"} and belongs(process)
    except (OSError, IndexError):
        return False  # it has ended meanwhile
