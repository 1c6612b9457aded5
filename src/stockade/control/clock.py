"""Time as the services see it, from a function they are given."""

from __future__ import annotations

import time
from collections.abc import Callable

#: Tells the time in milliseconds since the epoch.
Clock = Callable[[], int]


def system_clock() -> int:
    """The machine's time."""
    return time.time_ns() // 1_000_000
