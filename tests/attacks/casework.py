"""Many cases in one devbox run: each has a port of its own, so that it is known whose
octets arrived."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.attacks.builders import Step, resolve, tcp
from tests.attacks.conftest import Attacker, Outcome
from tests.lab.record import Entry

#: Ports on which nothing in the lab or the gateway is special.
FIRST_PORT = 10_000

Cases = Mapping[str, bytes | Sequence[bytes]]


@dataclass(frozen=True, slots=True)
class Batch:
    """What came of the cases of one run, by their names."""

    outcome: Outcome
    ports: Mapping[str, int]
    steps: Mapping[str, int]

    def entries(self, case: str, kind: str) -> tuple[Entry, ...]:
        """What the servers saw of a case."""
        return self.outcome.run.saw(kind=kind, port=self.ports[case])

    def octets(self, case: str) -> bytes:
        """The first octets that any server got from a case."""
        return b"".join(entry.data for entry in self.entries(case, "tcp"))

    def names(self, case: str, kind: str = "http") -> list[str]:
        """The hosts that the servers were asked for in a case, in order."""
        return [entry.name.lower() for entry in self.entries(case, kind)]

    def got(self, case: str) -> bytes:
        """What the client was sent."""
        return self.outcome.got(self.steps[case])

    def reasons(self, case: str) -> set[str]:
        """The reasons of the flow records of a case."""
        return self.outcome.reasons(port=self.ports[case])

    def denials(self, case: str) -> set[str]:
        """The reasons of its denials."""
        return self.outcome.reasons(port=self.ports[case], verdict="deny")

    def arrived(self) -> set[str]:
        """The cases of which any server got an octet."""
        return {case for case in self.ports if self.octets(case)}

    def asked_for(self, name: str, kind: str = "http") -> set[str]:
        """The cases in which a server was asked for *name*."""
        return {case for case in self.ports if name in self.names(case, kind)}

    def carried(self, mark: bytes) -> set[str]:
        """The cases in which a server got *mark* among its first octets."""
        return {case for case in self.ports if mark in self.octets(case)}


def each(
    attack: Attacker,
    policy: str | Mapping[str, Any] | None,
    host: str,
    cases: Cases,
    *,
    lookups: str = "",
    timeout: float = 120.0,
    **options: object,
) -> Batch:
    """Send each case to *host* on a port of its own, after *lookups* of these names.

    A case is what is sent, or the pieces it is sent in.
    """
    before: list[Step] = [resolve(name) for name in lookups.split()]
    ports = {name: FIRST_PORT + index for index, name in enumerate(cases)}
    steps = [
        tcp(
            host,
            ports[name],
            *([sent] if isinstance(sent, bytes) else sent),
            **{"half_close": True, **options},
        )
        for name, sent in cases.items()
    ]
    outcome = attack(policy, *before, *steps, timeout=timeout)
    return Batch(
        outcome,
        ports,
        {name: len(before) + index for index, name in enumerate(cases)},
    )
