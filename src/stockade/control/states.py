"""The life of a devbox as a table: which status may follow which, and why it ends."""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType

from stockade.errors import InvalidRequest
from stockade.hosting import EndCause


class Status(StrEnum):
    """Where a devbox is in its life."""

    QUEUED = "queued"
    PROVISIONING = "provisioning"
    INITIALIZING = "initializing"
    RUNNING = "running"
    SUSPENDING = "suspending"
    SUSPENDED = "suspended"
    RESUMING = "resuming"
    SHUTDOWN = "shutdown"
    FAILURE = "failure"


class ShutdownReason(StrEnum):
    """Why a devbox was shut down."""

    API = "api_shutdown"
    KEEP_ALIVE = "keep_alive_timeout"
    ENTRYPOINT = "entrypoint_exit"
    IDLE = "idle"


class FailureReason(StrEnum):
    """Why a devbox failed."""

    OUT_OF_MEMORY = "out_of_memory"
    OUT_OF_DISK = "out_of_disk"
    EXECUTION = "execution_failed"
    HEALTH = "health_check_failed"


#: Nothing follows these.
TERMINAL = frozenset({Status.SHUTDOWN, Status.FAILURE})
#: A process of the devbox may exist on a host.
ON_HOST = frozenset(
    {Status.PROVISIONING, Status.INITIALIZING, Status.RUNNING, Status.SUSPENDING}
)

# A resumed devbox is `provisioning` again: clients take `resuming` for a final status.
_NEXT = MappingProxyType(
    {
        Status.QUEUED: frozenset({Status.PROVISIONING}),
        # Back to `suspended`: a host that is full now is no reason to lose a disk.
        Status.PROVISIONING: frozenset({Status.INITIALIZING, Status.SUSPENDED}),
        Status.INITIALIZING: frozenset({Status.RUNNING}),
        Status.RUNNING: frozenset({Status.SUSPENDING}),
        Status.SUSPENDING: frozenset({Status.SUSPENDED}),
        Status.SUSPENDED: frozenset({Status.PROVISIONING}),
        Status.RESUMING: frozenset({Status.PROVISIONING}),
    }
)
# The API's older word for `queued`, which clients may still ask for.
_OLD_WORDS = frozenset({"scheduled"})

_FAILURES = MappingProxyType(
    {
        EndCause.EXITED: FailureReason.EXECUTION,
        EndCause.OUT_OF_MEMORY: FailureReason.OUT_OF_MEMORY,
        EndCause.OUT_OF_DISK: FailureReason.OUT_OF_DISK,
        EndCause.ENFORCEMENT_LOST: FailureReason.HEALTH,
    }
)


def may_follow(before: Status, after: Status) -> bool:
    """Whether a devbox that is *before* may become *after*."""
    if before in TERMINAL:
        return False
    return after in TERMINAL or after in _NEXT[before]


def failure_of(cause: EndCause) -> FailureReason:
    """What the API calls the cause of an end that nobody asked for."""
    return _FAILURES[cause]


def parse_status(text: str) -> Status:
    """The status of that name. Raises `InvalidRequest`."""
    if text in _OLD_WORDS:
        return Status.QUEUED
    try:
        return Status(text)
    except ValueError:
        raise InvalidRequest(
            f"{text[:40]!r} is not a status of a devbox: {', '.join(Status)}"
        ) from None
