"""What is asked of a host: a devbox to run, and the policy it runs under."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NewType, Self

from stockade.errors import Conflict, InvalidRequest
from stockade.policy.model import NetworkPolicy

DevboxId = NewType("DevboxId", str)

#: The default bound on the number of processes of a devbox.
DEFAULT_PIDS = 4096


@dataclass(frozen=True, slots=True)
class Mount:
    """A directory or file of the host that is visible in the devbox."""

    source: Path
    target: str
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class DevboxSpec:
    """One devbox: what runs in it, from which image, within which limits.

    *memory* is in bytes, *cpus* in cores; None is no limit of ours. Without *argv* it
    runs until it is ended, and what runs in it is started from outside.
    """

    id: DevboxId
    argv: tuple[str, ...]
    image: str = "default"
    env: Mapping[str, str] = field(default_factory=dict)
    workdir: str | None = None
    user: str = "root"
    mounts: tuple[Mount, ...] = ()
    memory: int | None = None
    cpus: float | None = None
    pids: int = DEFAULT_PIDS
    terminal: bool = False
    hostname: str = "devbox"
    allow_sudo: bool = False


@dataclass(frozen=True, slots=True)
class PolicyPush:
    """One generation of one policy, as it is pushed to a gateway.

    *digest* is the SHA-256 of the canonical JSON form of the policy, in hexadecimal. It
    is computed once: a push goes to many devboxes.
    """

    policy_id: str
    generation: int
    policy: NetworkPolicy
    digest: str = field(init=False, compare=False)

    def __post_init__(self) -> None:
        text = json.dumps(self.policy.to_mapping(), sort_keys=True, ensure_ascii=True)
        object.__setattr__(self, "digest", hashlib.sha256(text.encode()).hexdigest())

    def check_follows(self, current: PolicyPush) -> None:
        """Raise `Conflict` if this one may not be put in the place of *current*.

        It may not be an older generation of the same policy, nor the same generation
        with another content. The same again may be.
        """
        if current.policy_id != self.policy_id:
            return
        if self.generation < current.generation:
            raise Conflict(
                f"generation {self.generation} of {self.policy_id} is older than "
                f"{current.generation}, which is in force"
            )
        if self.generation == current.generation and self.digest != current.digest:
            raise Conflict(
                f"generation {self.generation} of {self.policy_id} is in force with "
                "another content"
            )

    @classmethod
    def from_mapping(cls, raw: Mapping[str, Any]) -> Self:
        """Read a push and check that it arrived whole. Raises `InvalidRequest`."""
        try:
            push = cls(
                policy_id=raw["policy_id"],
                generation=raw["generation"],
                policy=NetworkPolicy.from_mapping(raw["policy"]),
            )
            digest = raw["digest"]
        except (KeyError, TypeError) as error:
            raise InvalidRequest(f"not a policy push: {error}") from None
        if type(push.policy_id) is not str or type(push.generation) is not int:
            raise InvalidRequest("not a policy push: an id or a generation of no kind")
        if push.digest != digest:
            raise InvalidRequest("the policy does not match its digest")
        return push

    def to_mapping(self) -> dict[str, Any]:
        """The reverse of `from_mapping`."""
        return {
            "policy_id": self.policy_id,
            "generation": self.generation,
            "digest": self.digest,
            "policy": self.policy.to_mapping(),
        }
