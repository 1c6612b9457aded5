"""A process in a devbox that is a child of ours: its end, its signals.

It is not reaped when it ends but when nobody will signal it any more: until then its
number, and that of its process group, cannot become those of another process. While it
is not, its devbox cannot end.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable

from stockade.errors import InvalidRequest
from stockade.runtime.box import BoxProcess

#: The exit status of who was killed, or ended unseen.
KILLED = 128 + signal.SIGKILL


class Child:
    """One process. *ended* has its exit status: 128 + signal for a signal.

    *on_reaped* is called once it is no child of ours any more.
    """

    def __init__(self, process: BoxProcess, on_reaped: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._process = process
        self._on_reaped = on_reaped
        self._is_over = False
        self.ended: asyncio.Future[int] = self._loop.create_future()
        self._loop.add_reader(process.pidfd, self._on_end)

    def signal(self, number: int, *, group: bool) -> None:
        """Send a signal to it, or to its process group. Nothing if it was reaped."""
        if number not in signal.valid_signals():
            raise InvalidRequest(f"there is no signal {number}")
        if self._process.pidfd < 0:
            return
        with contextlib.suppress(ProcessLookupError):
            # It may have gone to another group, but to none outside of its own session.
            leader = os.getpgid(self._process.pid) if group else 0
            if group and leader not in (0, os.getpgrp()):
                os.killpg(leader, number)
            else:
                signal.pidfd_send_signal(self._process.pidfd, number)

    def finish(self) -> None:
        """No signal is sent to it any more: reap it, now or when it ends."""
        self._is_over = True
        if self.ended.done():
            self._reap()

    def kill(self) -> None:
        """End it with its process group, and reap it."""
        self.signal(signal.SIGKILL, group=True)
        self.finish()

    def _on_end(self) -> None:
        self._loop.remove_reader(self._process.pidfd)
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
        try:
            found = os.waitid(os.P_PIDFD, self._process.pidfd, flags)
        except ChildProcessError:
            found = None
        if found is None:
            status = KILLED
        else:
            died = found.si_code != os.CLD_EXITED
            status = found.si_status + (128 if died else 0)
        if not self.ended.done():
            self.ended.set_result(status)
        if self._is_over:
            self._reap()

    def _reap(self) -> None:
        pidfd = self._process.pidfd
        if pidfd >= 0:
            with contextlib.suppress(ChildProcessError):
                os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG)
            os.close(pidfd)
            self._process = BoxProcess(self._process.pid, -1)
            self._on_reaped()
