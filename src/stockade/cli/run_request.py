"""What `stockade run` was asked for, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stockade.policy.model import NetworkPolicy
from stockade.spec import DevboxId, DevboxSpec, Mount


@dataclass(frozen=True, slots=True)
class RunRequest:
    """All options of one run, as values."""

    policy: NetworkPolicy
    policy_id: str
    command: tuple[str, ...]
    image: str
    env: Mapping[str, str]
    workdir: str | None
    mounts: tuple[Mount, ...]
    user: str
    allow_sudo: bool
    memory: int | None
    cpus: float | None
    timeout: float | None
    flows: Path | None
    terminal: bool

    def spec(self, devbox: DevboxId) -> DevboxSpec:
        """The devbox to run."""
        return DevboxSpec(
            id=devbox,
            argv=self.command,
            image=self.image,
            env=self.env,
            workdir=self.workdir,
            user=self.user,
            mounts=self.mounts,
            memory=self.memory,
            cpus=self.cpus,
            terminal=self.terminal,
            allow_sudo=self.allow_sudo,
        )
