"""What is being started in a devbox, so that nothing of it is left when that fails.

A runtime that fails may leave a process that it made already: our child, of which we do
not know the number, and without which reaped the devbox cannot end. It is found when
nothing is being started: then every other child of ours in there is known.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stockade.errors import Conflict, Unavailable
from stockade.runtime.processes import reap_strays

_PATIENCE = 10.0


class Starts:
    """The starts of one devbox, in any thread. *known* are the pids they have made."""

    def __init__(self) -> None:
        self.init = 0
        self.known: set[int] = set()
        self._lock = threading.Lock()
        self._count = 0
        self._has_failed = False
        self._is_up = False

    def wait_for_init(self, name: str) -> None:
        """Wait until the init process is the program *name*, once.

        A moment longer it is still the runtime, whose namespaces cannot be joined.
        """
        deadline = time.monotonic() + _PATIENCE
        while not self._is_up:
            try:
                facts = Path(f"/proc/{self.init}/stat").read_text()
            except OSError:
                facts = "() X"
            comm, _, rest = facts.partition("(")[2].rpartition(")")
            if rest.split()[0] in {"X", "Z"}:
                raise Conflict("the devbox does not run")
            self._is_up = comm == name
            if time.monotonic() > deadline:
                raise Unavailable("the devbox does not start")
            if not self._is_up:
                time.sleep(0.001)

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Start something in the block, and add its pid to *known* there."""
        with self._lock:
            self._count += 1
        failed = True
        try:
            yield
            failed = False
        finally:
            with self._lock:
                self._count -= 1
                self._has_failed |= failed
                if self._has_failed and not self._count:
                    reap_strays(self.init, self.known)
                    self._has_failed = False
