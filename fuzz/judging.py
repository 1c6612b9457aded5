"""First bytes judged to a decision: what is allowed is a name that the policy covers."""

from __future__ import annotations

from ipaddress import ip_address

from fuzz.memory import MemorySocket
from fuzz.oracles import MIN_HELLO, bare, openssl_name
from fuzz.target import Target, expect, is_due
from fuzz.wire_sniff import SNIFF, http_hosts
from stockade.gateway.devboxes import AttachedDevbox
from stockade.gateway.first_bytes import FirstBytes, FirstBytesReader
from stockade.gateway.flowlog import Kind
from stockade.gateway.judging import Judged, judge
from stockade.gateway.services import Limits
from stockade.gateway.sides import Side
from stockade.names import Hostname
from stockade.policy.decide import Reason, deny
from tests.unit.gateway import fakes

_PORTS = (80, 443, 22, 5432)
_SHARED = ip_address("203.0.113.20")
_SINKHOLE = ip_address("100.126.0.1")
_ADDRESSES = (
    _SHARED,
    ip_address("203.0.113.10"),
    ip_address("203.0.113.99"),
    _SINKHOLE,
)
_BASE = deny(Reason.ADDRESS_NOT_ALLOWED)
_LIMITS = Limits()
_COMPARED = 4


class _Queue:
    """All that a reader which never waits asks of the queue: a clock."""

    class loop:  # noqa: N801 - an attribute of the queue
        """The loop, of which only the time is looked at."""

        @staticmethod
        def time() -> float:
            return 0.0


def _told(policy: str | None) -> AttachedDevbox:
    """A devbox under *policy* that was told addresses for allowed and for denied names."""
    box = fakes.devbox(policy)
    for name in ("d.test", "b.test", "a.test"):
        box.lookups.record(Hostname(name), _SHARED)
    box.lookups.record(Hostname("d.test"), _ADDRESSES[1])
    box.sinkhole.address_for(Hostname("x.w.test"))
    return box


# A policy, and the names it means, by a rule that is none of the policy's own code.
_BOXES = (
    (
        _told("a.test *.w.test"),
        lambda name: name == "a.test" or name.endswith(".w.test"),
    ),
    (_told("b.test"), lambda name: name == "b.test"),
)
_CLOSED = (_told(""), _told(None))


def check(data: bytes) -> None:
    """The first octet is where to, the rest is what the client says, and then no more."""
    if not data:
        return
    where, said = data[0], data[1:]
    first = _first_bytes(said, where >> 6 & 1)
    if first is None:
        return
    port, address = _PORTS[where & 3], _ADDRESSES[where >> 2 & 3]
    for box in _CLOSED if is_due(said, _COMPARED) else ():
        judged = judge(first, box, address, port, _BASE)
        expect(not judged.decision.allowed, "allowed by nothing", judged)
    box, covers = _BOXES[where >> 4 & 1]
    judged = judge(first, box, address, port, _BASE)
    if not judged.decision.allowed:
        return
    name = judged.name
    expect(name and covers(name.text), "an allowed name that no rule covers", judged)
    if name is not None:
        _check_meant(said, name.text, judged, port, box.lookups.names(address))


def _first_bytes(said: bytes, ends: int) -> FirstBytes | None:
    """What the gateway reads of a client that says this, and then ends or waits."""
    sock = MemorySocket()
    sock.arrive(said)
    if ends:
        sock.arrive_end()
    side = Side(sock, _Queue())  # type: ignore[arg-type]
    return FirstBytesReader(side, _LIMITS, patient=True).read_at_once()


def _check_meant(
    said: bytes, name: str, judged: Judged, port: int, told: tuple[Hostname, ...]
) -> None:
    """Whoever reads a name in these bytes reads the one that was judged."""
    due = len(said) >= MIN_HELLO and is_due(said, _COMPARED)
    named = openssl_name(said) if due else None
    if named is not None and named[0] is not None:
        expect(_normal(named[0]) == name, "SNI", named, judged)
    expect(named != (None,) or port != 443, "TLS without a name on 443", judged)
    hosts = http_hosts(said) if b"\n" in said else []
    expect(all(_normal(bare(host)) == name for host in hosts), "Host", hosts, judged)
    if judged.kind is Kind.TCP:
        known = Hostname(name) in told or name == "x.w.test"
        expect(known, "an opaque protocol by a name it was not told", judged)


def _normal(name: str) -> str:
    return name.lower().removesuffix(".")


JUDGE = Target(
    "judge",
    check,
    tuple(
        bytes((where,)) + seed
        for where, seed in zip(
            (0, 1, 3, 12, 16, 64, 5, 15) * len(SNIFF.seeds), SNIFF.seeds, strict=False
        )
    ),
    (*SNIFF.words, b"b.test", b"x.w.test", b"d.test"),
    max_len=700,
    cost=8,
)
