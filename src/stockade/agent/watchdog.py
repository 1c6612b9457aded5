"""Notices a gateway that runs and does not serve: stopped, hung, or cut off from us.

A gateway that dies is noticed by its end. One that does not answer has to be told from
one that is merely busy, and from an agent that was not running itself: so what counts is
not time but looks, a quarter of a second apart, at which an answer is still missing.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from stockade.agent.control_client import GatewayGone
from stockade.command import Process

LOOK_SECONDS = 0.25
#: Looks without an answer, five seconds: no load that a gateway takes keeps it so long
#: from its control connection, and ending it ends every connection of every devbox.
MAX_UNANSWERED = 20
#: Looks at which it was found stopped, and told to go on.
MAX_STOPPED = 3

_log = logging.getLogger(__name__)


class Control(Protocol):
    """The control connection of a gateway."""

    async def request(self, op: str, **fields: Any) -> dict[str, Any]:
        """Send a request and return its reply. Raises `GatewayGone`."""


class Watchdog:
    """Watches one gateway process. *is_connected* says whether it can be spoken to."""

    def __init__(
        self,
        process: Process[bytes],
        control: Control,
        is_connected: Callable[[], bool],
    ) -> None:
        self._process = process
        self._control = control
        self._is_connected = is_connected
        self._stopped = 0
        self._unanswered = 0
        self._ping: asyncio.Task[None] | None = None

    async def until_useless(self) -> str:
        """Return, saying why, once the gateway has to be replaced."""
        try:
            while True:
                await asyncio.sleep(LOOK_SECONDS)
                problem = self._look()
                if problem is not None:
                    return problem
        finally:
            if self._ping is not None:
                self._ping.cancel()
                await asyncio.gather(self._ping, return_exceptions=True)

    def _look(self) -> str | None:
        if not self._is_connected():
            return "its control connection ended"
        if self._stays_stopped():
            return "it is stopped again and again"
        if self._ping is None or self._ping.done():
            self._unanswered = 0
            self._ping = asyncio.get_running_loop().create_task(self._ask())
        else:
            self._unanswered += 1
        if self._unanswered > MAX_UNANSWERED:
            return f"it has not answered for {MAX_UNANSWERED * LOOK_SECONDS:g} s"
        return None

    def _stays_stopped(self) -> bool:
        """Let a stopped process go on: its connections are worth more than a new one."""
        if not is_stopped(self._process.pid):
            self._stopped = 0
            return False
        self._stopped += 1
        _log.warning("the gateway was stopped from outside; it is told to go on")
        self._process.send_signal(signal.SIGCONT)
        return self._stopped > MAX_STOPPED

    async def _ask(self) -> None:
        try:
            await self._control.request("ping")
        except GatewayGone:
            # Counted as unanswered while it lasts; `is_connected` tells of an end.
            pass


def is_stopped(pid: int) -> bool:
    """Whether a process is stopped by a signal or a debugger (proc(5), state)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    # The name of the program, in parentheses, may contain anything.
    return stat.rpartition(")")[2].split()[0] in ("T", "t")
