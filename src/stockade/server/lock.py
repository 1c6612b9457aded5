"""One server to a data directory.

Two would sweep each other's devboxes. The lock is the kernel's, on an open file, so that
it goes with the process in whatever way that ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from stockade.errors import Conflict


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold *directory* for this process. Raises `Conflict` naming who has it."""
    directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    path = directory / "server.lock"
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(fd, 32, 0).decode(errors="replace").strip()
            raise Conflict(
                f"{directory}: another stockade serve has it"
                + (f" (process {holder})" if holder else "")
                + "; stop it, or choose another directory with --data"
            ) from None
        os.ftruncate(fd, 0)
        os.pwrite(fd, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(fd)
