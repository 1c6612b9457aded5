"""The attacker's seat: a devbox that does what it is told, and what came of it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.attacks.builders import Step
from tests.lab.stockade import Run, Stockade
from tests.lab.witness import Destination

PROBES = Path(__file__).with_name("probes")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a probe got, what the lab saw, and what is on record."""

    results: tuple[Mapping[str, Any], ...]
    run: Run
    packets: Counter[Destination]

    def got(self, index: int) -> bytes:
        """The bytes that step *index* read."""
        return bytes.fromhex(self.results[index].get("got", ""))

    def reasons(self, **wanted: object) -> set[str]:
        """The reasons of the flow records with these values."""
        return {
            flow["reason"]
            for flow in self.run.flows
            if all(flow.get(key) == value for key, value in wanted.items())
        }

    def arrived(self, address: str) -> int:
        """How many packets arrived at *address*, whatever the protocol."""
        return sum(n for key, n in self.packets.items() if key.address == address)


class Attacker:
    """Does steps inside a devbox, as root there."""

    def __init__(self, stockade: Stockade) -> None:
        self._stockade = stockade

    def __call__(
        self, policy: str | Mapping[str, Any] | None, *steps: Step, timeout: float = 60
    ) -> Outcome:
        """Run *steps* in a fresh devbox under *policy*."""
        before = self._stockade.lab.packets()
        run = self._stockade.run(
            "--mount",
            f"{PROBES}:/probes:ro",
            "--",
            "python3",
            "/probes/probe.py",
            policy=policy,
            input=json.dumps(steps),
            timeout=timeout,
        )
        assert run.returncode == 0, run.stderr
        return Outcome(
            tuple(json.loads(run.stdout)), run, self._stockade.lab.packets() - before
        )


@pytest.fixture
def attack(stockade: Stockade) -> Attacker:
    """Runs steps in a devbox and tells what came of them."""
    return Attacker(stockade)
