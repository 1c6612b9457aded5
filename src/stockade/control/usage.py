"""What a devbox has used, from the times at which its status changed. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from stockade.control.devbox_records import Devbox
from stockade.control.launch_parameters import size_of
from stockade.control.states import ON_HOST, TERMINAL


@dataclass(frozen=True, slots=True)
class Usage:
    """Seconds, and resources over seconds. A disk counts while suspended, too."""

    start_ms: int
    end_ms: int | None
    elapsed_seconds: float
    active_seconds: float
    vcpu_seconds: float
    memory_gb_seconds: float
    disk_gb_seconds: float


def usage_of(devbox: Devbox, now: int) -> Usage:
    """What *devbox* has used until *now*, or until it ended."""
    end = devbox.ended_ms if devbox.ended_ms is not None else now
    active = 0
    nexts = [one.at_ms for one in devbox.transitions[1:]]
    for transition, until in zip(devbox.transitions, [*nexts, end], strict=True):
        if transition.status in ON_HOST and transition.status not in TERMINAL:
            active += max(0, until - transition.at_ms)
    cores, memory, disk = size_of(devbox.launch)
    elapsed = max(0, end - devbox.created_ms) / 1000
    seconds = active / 1000
    return Usage(
        start_ms=devbox.created_ms,
        end_ms=devbox.ended_ms,
        elapsed_seconds=elapsed,
        active_seconds=seconds,
        vcpu_seconds=seconds * cores,
        memory_gb_seconds=seconds * memory,
        disk_gb_seconds=elapsed * disk,
    )
