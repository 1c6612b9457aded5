"""Takes away what a killed run would leave: a child that outlives its parent for that.

Namespaces and sockets go with their last holder. What does not is in the devbox's
directory: its processes, its control group, its files. The janitor waits for the parent
to end, in whatever way, and removes them; should it be killed too, the next start
sweeps.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

from stockade.runtime import removal


@contextlib.contextmanager
def guarding(run_dir: Path, directory: Path) -> Iterator[None]:
    """Sweep what earlier runs left; then see that *directory* goes when this one ends."""
    run_dir.mkdir(mode=0o711, parents=True, exist_ok=True)
    removal.sweep(run_dir)
    read_end, write_end = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        _wait_and_remove(read_end, directory)
    os.close(read_end)
    try:
        yield
    finally:
        # The devbox has been removed in an orderly way: the janitor finds nothing.
        os.close(write_end)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(child, 0)


def _wait_and_remove(read_end: int, directory: Path) -> None:
    """The child: wait for the end of the parent, which closes the pipe."""
    try:
        os.setsid()  # Out of reach of the terminal's signals.
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGQUIT):
            signal.signal(number, signal.SIG_IGN)
        _close_all_but(read_end)
        os.read(read_end, 1)
        removal.remove(directory)
    finally:
        os._exit(0)


def _close_all_but(kept: int) -> None:
    """Hold nothing of the parent's: readers of its output wait for the last copy."""
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.closerange(3, kept)
    os.closerange(kept + 1, os.sysconf("SC_OPEN_MAX"))
