"""A gateway without a namespace: its parts with a clock and an uplink of the test's."""

from __future__ import annotations

import socket
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address
from typing import Any, TypeVar

import uvloop

from stockade.gateway.devboxes import AttachedDevbox, Registry
from stockade.gateway.events import EventQueue
from stockade.gateway.flowlog import FlowLog, FlowRecord
from stockade.gateway.questions import Bucket, QuestionLimits
from stockade.gateway.resolver import Resolved, ResolveError
from stockade.gateway.services import Limits, Services
from stockade.gateway.sides import Side
from stockade.names import Hostname
from stockade.policy.guardrails import Address, Guardrails
from stockade.policy.model import NetworkPolicy
from stockade.spec import PolicyPush
from stockade.wire.dns import Answer, QType, Rcode, Record

T = TypeVar("T")

GATEWAY_NETWORKS = ("100.127.0.0/16",)
HOST = ip_address("198.51.100.2")


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run *work* on the loop that gateways run on."""
    return uvloop.run(work)


@dataclass
class Clock:
    """A clock that stands still until it is moved."""

    now: float = 1_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class FakeUplink:
    """An uplink with one address of the machine and the given resolvers."""

    addresses: frozenset[Address] = frozenset({HOST})
    resolvers_: tuple[Address, ...] = (ip_address("127.0.0.1"),)

    def is_host_address(self, address: Address) -> bool:
        return address in self.addresses

    def follow_changes(self, add_reader: Callable[..., None]) -> None:
        pass

    def resolvers(self) -> tuple[Address, ...]:
        return self.resolvers_


@dataclass
class FakeResolver:
    """Answers from a table; what is not in it fails. Counts what was asked."""

    clock: Clock
    table: dict[tuple[str, int], Answer] = field(default_factory=dict)
    asked: list[tuple[str, int]] = field(default_factory=list)
    known: dict[tuple[str, int], Resolved] = field(default_factory=dict)
    relayed: bytes = b""

    def add(self, name: str, *addresses: str, ttl: int = 60, rcode: int = 0) -> None:
        """Answer *name* with these addresses."""
        for qtype in (QType.A, QType.AAAA):
            wanted = [a for a in map(ip_address, addresses) if is_of(a, qtype)]
            records = tuple(Record(name, qtype, ttl, address) for address in wanted)
            answer = Answer(Rcode(rcode), records, ttl if records else 0, False)
            self.table[(name, qtype)] = answer

    def cached(self, name: Hostname, qtype: int) -> Resolved | None:
        return self.known.get((name.text, qtype))

    async def resolve(self, name: Hostname, qtype: int) -> Resolved:
        key = (name.text, qtype)
        self.asked.append(key)
        if key not in self.table:
            raise ResolveError("no answer")
        answer = self.table[key]
        self.known[key] = Resolved(answer, self.clock() + max(answer.ttl, 1))
        return self.known[key]

    async def relay(self, name: Hostname, qtype: int) -> bytes:
        self.asked.append((name.text, qtype))
        if not self.relayed:
            raise ResolveError("no answer")
        return self.relayed


def is_of(address: Address, qtype: int) -> bool:
    return isinstance(address, IPv6Address) == (qtype == QType.AAAA)


def policy(hostnames: str = "", **fields: Any) -> NetworkPolicy:
    """A policy from a text of host names and further fields."""
    names = hostnames.split()
    return NetworkPolicy.from_mapping(
        {"name": "p", "allowed_hostnames": names, **fields}
    )


def push(
    what: NetworkPolicy | str = "", generation: int = 1, policy_id: str = "npol_1"
) -> PolicyPush:
    """A push of *what*: a policy, or a text of host names."""
    whole = policy(what) if isinstance(what, str) else what
    return PolicyPush(policy_id, generation, whole)


def devbox(
    what: NetworkPolicy | str | None = "",
    *,
    guardrails: Guardrails | None = None,
    questions: QuestionLimits | None = None,
    name: str = "dbx_1",
    address: str = "100.127.0.3",
) -> AttachedDevbox:
    """A devbox under *what*; None leaves it in quarantine."""
    made = AttachedDevbox(
        name,
        (ip_address(address),),
        guardrails or Guardrails(),
        questions or generous(),
    )
    if what is not None:
        made.apply(push(what))
    return made


def generous() -> QuestionLimits:
    """Limits that nothing here meets."""
    return QuestionLimits(
        questions=Bucket(1e6, 1e6), new_names=Bucket(1e6, 1e6), max_in_flight=1_000
    )


def services(
    clock: Clock, resolver: Any, *, records: list[FlowRecord], **options: Any
) -> Services:
    """Services whose completed records go to *records*."""
    log = FlowLog(wall_clock=clock, clock=clock)
    log.subscribe(lambda record: records.append(record) if record.ended else None)
    return Services(
        registry=Registry(),
        resolver=resolver,
        dialer=options.pop("dialer", None),
        uplink=options.pop("uplink", FakeUplink()),
        log=log,
        limits=options.pop("limits", Limits()),
        **options,
    )


def side(sock: socket.socket, queue: EventQueue | None = None) -> Side:
    """*sock* as one side of a connection."""
    sock.setblocking(False)
    return Side(sock, queue or EventQueue())


def close_all(socks: Iterable[socket.socket]) -> None:
    for sock in socks:
        sock.close()
