"""A seat in a devbox: one step of a connection at a time, as a test tells it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.attacks.agents import Agent

STEPPER = Path(__file__).with_name("probes").joinpath("stepper.py").read_text()


class Seat:
    """A devbox that runs `probes/stepper.py`."""

    def __init__(self, agent: Agent, name: str, policy: dict[str, object]) -> None:
        self.agent = agent
        self.name = name
        self.told = agent.call("start", name=name, code=STEPPER, policy=policy)

    @property
    def devbox(self) -> str:
        """Its id, as records have it."""
        return str(self.told["devbox"])

    def do(self, **step: object) -> dict[str, Any]:
        """Do one step, whatever comes of it."""
        answer: dict[str, Any] = self.agent.tell(self.name, json.dumps(step))
        return answer

    def must(self, **step: object) -> dict[str, Any]:
        """Do one step that has to succeed."""
        answer = self.do(**step)
        assert "error" not in answer, (step, answer)
        return answer

    def update(self, policy: dict[str, object], **fields: object) -> dict[str, Any]:
        """Put another policy in force."""
        return self.agent.call("update", name=self.name, policy=policy, **fields)

    def resolve(self, name: str) -> str:
        """The address that the devbox is told for *name*."""
        return str(self.must(do="resolve", name=name)["address"])

    def open(self, sock: str, host: str, port: int, **options: object) -> None:
        """Connect a socket that is called *sock* from here on."""
        self.must(do="connect", **{"as": sock}, host=host, port=port, **options)

    def send(self, sock: str, data: bytes) -> dict[str, Any]:
        """Send all of *data*, or say why that fails."""
        return self.do(do="send", **{"as": sock}, data=data.hex())

    def recv(self, sock: str, until: bytes = b"", patience: float = 3.0) -> bytes:
        """What comes until *until* is in it; nothing when there is an error."""
        answer = self.do(
            do="recv", **{"as": sock}, until=until.hex(), patience=patience
        )
        return bytes.fromhex(answer.get("got", ""))

    def asks(self, sock: str, data: bytes, until: bytes) -> None:
        """Send *data* and be answered with something that has *until* in it."""
        assert self.send(sock, data) == {}
        got = self.recv(sock, until)
        assert until in got, (sock, got)

    def echoes(self, sock: str, data: bytes) -> bool:
        """Whether *data* goes there and comes back."""
        return self.send(sock, data) == {} and bool(self.recv(sock, patience=1.5))

    def ended(self, sock: str, patience: float = 3.0) -> bool:
        """Whether the connection has been ended by the other side."""
        answer = self.must(do="ended", **{"as": sock}, patience=patience)
        return bool(answer["ended"])

    def state(self, sock: str) -> str:
        """Whether a stream still moves: alive, cut, stuck."""
        return str(self.must(do="state", **{"as": sock})["state"])
