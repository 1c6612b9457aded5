"""What a gateway process is told at its start."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

#: The longest line of the control protocol, in octets.
MAX_LINE = 8 << 20


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """What the agent tells a gateway at its start.

    *sockets* (by name, as `host.sockets` has them) and *control* are inherited
    descriptors; each of *control* is the gateway's end of a control connection.
    """

    sockets: Mapping[str, int]
    control: tuple[int, ...] = ()
    opened: tuple[str, ...] = ()
    closed: tuple[str, ...] = ()
    own_networks: tuple[str, ...] = ()
    denied_answer: str = "sinkhole"
    #: Whether to end when no agent is connected any more (`stockade run`).
    end_with_agent: bool = True

    def to_json(self) -> str:
        """As one command-line argument."""
        return json.dumps(
            {
                "sockets": dict(self.sockets),
                "control": self.control,
                "opened": self.opened,
                "closed": self.closed,
                "own_networks": self.own_networks,
                "denied_answer": self.denied_answer,
                "end_with_agent": self.end_with_agent,
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The reverse of `to_json`."""
        values = json.loads(text)
        for key in ("control", "opened", "closed", "own_networks"):
            values[key] = tuple(values[key])
        return cls(**values)
