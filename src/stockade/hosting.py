"""What is exchanged between the control plane and a host that serves devboxes.

Values only, the same on one machine and on many. The calls are in `control.host`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NewType

from stockade.spec import DevboxId

ExecutionId = NewType("ExecutionId", str)
SnapshotId = NewType("SnapshotId", str)

MIB = 1 << 20
GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class BoxAccount:
    """The Linux user that commands of a devbox run as."""

    name: str = "user"
    uid: int = 1000

    @property
    def home(self) -> str:
        """Where its commands start."""
        return "/root" if self.uid == 0 else f"/home/{self.name}"


@dataclass(frozen=True, slots=True)
class DevboxPlan:
    """One served devbox: what it is made from, how large it is, whose it is.

    *image* is a reference the host's image store knows. *snapshot* is the disk it begins
    with, instead of an empty one. *memory* and *disk* are in bytes, *cpus* in cores.
    *env* is what every command inside sees.
    """

    id: DevboxId
    account: str
    image: str = "default"
    snapshot: SnapshotId | None = None
    user: BoxAccount = BoxAccount()
    env: Mapping[str, str] = field(default_factory=dict)
    cpus: float = 1.0
    memory: int = 2 * GIB
    disk: int = 4 * GIB


@dataclass(frozen=True, slots=True)
class ExecutionPlan:
    """One command in a devbox. Without *attach_stdin* it reads end of file."""

    id: ExecutionId
    argv: tuple[str, ...]
    user: BoxAccount = BoxAccount()
    env: Mapping[str, str] = field(default_factory=dict)
    workdir: str | None = None
    attach_stdin: bool = False


class Stream(StrEnum):
    """An output of an execution."""

    STDOUT = "stdout"
    STDERR = "stderr"


class EndCause(StrEnum):
    """Why a devbox ended by itself."""

    EXITED = "exited"
    OUT_OF_MEMORY = "out_of_memory"
    OUT_OF_DISK = "out_of_disk"
    ENFORCEMENT_LOST = "enforcement_lost"


@dataclass(frozen=True, slots=True)
class DevboxEnded:
    """A devbox ended without being asked to. *message* is for people."""

    devbox: DevboxId
    cause: EndCause
    message: str


@dataclass(frozen=True, slots=True)
class PolicyInForce:
    """The gateway's word: this generation is in force for a devbox.

    *at_ms* is when it said so, in milliseconds since the epoch; *cut* how many flows
    were reset because the generation no longer allows them.
    """

    devbox: DevboxId
    policy_id: str
    generation: int
    digest: str
    cut: int
    at_ms: int


@dataclass(frozen=True, slots=True)
class Execution:
    """How far an execution is: *exit_status* is None while it runs.

    The sizes are in bytes, of all that was written, whether it was kept or not.
    """

    id: ExecutionId
    exit_status: int | None
    stdout_size: int
    stderr_size: int
