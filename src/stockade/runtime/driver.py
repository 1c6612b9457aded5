"""What we ask of a container runtime: the OCI's own verbs.

A driver belongs to one devbox and keeps its state in the directory of that devbox.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol


class ContainerState(StrEnum):
    """The states of the OCI runtime specification, and its absence."""

    CREATING = "creating"
    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"
    STOPPED = "stopped"
    ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class Stdio:
    """The descriptors that a process in the devbox gets as 0, 1 and 2."""

    stdin: int
    stdout: int
    stderr: int


class RuntimeDriver(Protocol):
    """A container runtime. Every call returns when the thing is done, or raises."""

    def create(self, name: str, bundle: Path, stdio: Stdio | Path) -> int:
        """Make namespaces and the init process, which waits; return its pid.

        *stdio* is three descriptors, or the socket that takes the terminal.
        """

    def start(self, name: str) -> None:
        """Let the init process of a created container go on."""

    def kill(self, name: str, number: signal.Signals) -> None:
        """Send a signal to the init process."""

    def state(self, name: str) -> ContainerState:
        """Return what the container does."""

    def exec(
        self, name: str, process: Mapping[str, Any], stdio: Stdio | Path, scratch: Path
    ) -> int:
        """Start another process in a running container; return its pid.

        *process* is an OCI process object; *scratch* a directory for its files.
        """

    def delete(self, name: str) -> None:
        """Kill what is left of the container and forget it. It may be gone already."""
