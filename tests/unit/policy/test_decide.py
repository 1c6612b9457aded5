"""The one decision, as sentences: verdict, reason and rule."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

import pytest

from stockade.names import Hostname
from stockade.policy.decide import (
    CompiledPolicy,
    Decision,
    Flow,
    Reason,
    Verdict,
    decide,
    deny,
)
from stockade.policy.guardrails import Guardrails
from stockade.policy.model import NetworkPolicy, Transport

NOBODY = Guardrails()
TCP, UDP = Transport.TCP, Transport.UDP


def compiled(**fields: Any) -> CompiledPolicy:
    return CompiledPolicy(NetworkPolicy.from_mapping({"name": "p", **fields}))


def cidr(text: str, *ports: dict[str, object]) -> dict[str, object]:
    return {"cidr": text, "ports": list(ports)}


def to(
    address: str | None = None,
    port: int = 443,
    transport: Transport = TCP,
    *,
    name: str | None = None,
    is_host: bool = False,
) -> Flow:
    return Flow(
        port,
        transport,
        ip_address(address) if address else None,
        Hostname.parse(name) if name else None,
        is_host=is_host,
    )


NOTHING = compiled()
ALL = compiled(allow_all=True)
NAMES = compiled(allowed_hostnames=["a.test", "*.w.test", "b.w.test"])
RANGES = compiled(
    allowed_cidrs=[
        cidr("10.20.0.0/16", {"port": 5432, "protocol": "TCP"}),
        cidr("203.0.113.0/24"),
        cidr("203.0.113.128/25", {"port": 8000, "end_port": 8080}),
        cidr("2001:db8::/32"),
    ]
)
EVERYTHING = compiled(allowed_cidrs=[cidr("0.0.0.0/0"), cidr("::/0")])

DENIED = [
    pytest.param(NOTHING, to(name="a.test"), "hostname_not_allowed", id="name only"),
    pytest.param(NOTHING, to("203.0.113.10"), "address_not_allowed", id="address only"),
    pytest.param(
        NOTHING, to("203.0.113.10", name="a.test"), "hostname_not_allowed", id="both"
    ),
    pytest.param(NAMES, to(name="nota.test"), "hostname_not_allowed", id="whole label"),
    pytest.param(NAMES, to(name="x.a.test"), "hostname_not_allowed", id="not below"),
    pytest.param(NAMES, to(name="w.test"), "hostname_not_allowed", id="apex gap"),
    pytest.param(NAMES, to(name="test"), "hostname_not_allowed", id="the suffix alone"),
    pytest.param(
        NAMES, to("203.0.113.10"), "address_not_allowed", id="an address has no name"
    ),
    pytest.param(
        NAMES,
        to("10.20.0.10", name="a.test"),
        "guardrail_private",
        id="a name that points at a private address",
    ),
    pytest.param(
        NAMES,
        to("169.254.169.254", 80, name="a.test"),
        "guardrail_metadata",
        id="a name that points at the metadata service",
    ),
    pytest.param(
        NAMES,
        to("198.51.100.2", name="a.test", is_host=True),
        "guardrail_host",
        id="a name that points at the machine itself",
    ),
    pytest.param(
        RANGES, to("10.20.0.1", 5433), "guardrail_private", id="another port of a range"
    ),
    pytest.param(
        RANGES, to("10.20.0.1", 5432, UDP), "guardrail_private", id="other transport"
    ),
    pytest.param(RANGES, to("10.21.0.0", 5432), "guardrail_private", id="neighbour"),
    pytest.param(RANGES, to("203.0.112.255"), "address_not_allowed", id="one below"),
    pytest.param(RANGES, to("203.0.114.0"), "address_not_allowed", id="one above"),
    pytest.param(RANGES, to("2001:db9::"), "address_not_allowed", id="one above, 6"),
    pytest.param(
        RANGES, to(name="a.test"), "hostname_not_allowed", id="a range names nobody"
    ),
    pytest.param(ALL, to("10.20.0.10"), "guardrail_private", id="allow_all, private"),
    pytest.param(ALL, to("127.0.0.1"), "guardrail_loopback", id="allow_all, loopback"),
    pytest.param(ALL, to("::1"), "guardrail_loopback", id="allow_all, loopback 6"),
    pytest.param(ALL, to("fe80::1"), "guardrail_link_local", id="allow_all, link"),
    pytest.param(ALL, to("224.0.0.1"), "guardrail_multicast", id="allow_all, group"),
    pytest.param(ALL, to("0.0.0.0"), "guardrail_reserved", id="allow_all, zero"),
    pytest.param(ALL, to("198.51.100.2", is_host=True), "guardrail_host", id="host"),
    pytest.param(
        compiled(allow_all=True, allowed_cidrs=[cidr("10.0.0.0/8")]),
        to("10.20.0.10"),
        "guardrail_private",
        id="with allow_all the lists are kept, not applied",
    ),
    pytest.param(EVERYTHING, to("127.0.0.1"), "guardrail_loopback", id="/0, loopback"),
    pytest.param(
        EVERYTHING, to("169.254.169.254"), "guardrail_metadata", id="/0, metadata"
    ),
    pytest.param(
        EVERYTHING,
        to("10.20.0.1", is_host=True),
        "guardrail_host",
        id="/0, the machine",
    ),
    pytest.param(
        EVERYTHING,
        to("::ffff:10.20.0.10"),
        "guardrail_reserved",
        id="a rule for IPv6 opens no IPv4 address",
    ),
    pytest.param(EVERYTHING, to("ff02::1"), "guardrail_multicast", id="/0, group 6"),
]

ALLOWED = [
    pytest.param(NAMES, to(name="a.test"), "allowed_hostname", "a.test", id="a name"),
    pytest.param(
        NAMES, to(name="A.test."), "allowed_hostname", "a.test", id="spelling"
    ),
    pytest.param(
        NAMES, to(name="x.y.w.test"), "allowed_hostname", "*.w.test", id="any depth"
    ),
    pytest.param(
        NAMES, to(name="b.w.test"), "allowed_hostname", "b.w.test", id="exact first"
    ),
    pytest.param(
        NAMES,
        to("203.0.113.10", 22, name="a.test"),
        "allowed_hostname",
        "a.test",
        id="a name holds for every port",
    ),
    pytest.param(
        RANGES, to("10.20.255.255", 5432), "allowed_cidr", "10.20.0.0/16 5432/TCP"
    ),
    pytest.param(
        RANGES, to("203.0.113.1", 9, UDP), "allowed_cidr", "203.0.113.0/24", id="any"
    ),
    pytest.param(
        RANGES,
        to("203.0.113.200", 8080),
        "allowed_cidr",
        "203.0.113.128/25 8000-8080",
        id="the narrowest range is named",
    ),
    pytest.param(
        RANGES,
        to("203.0.113.200", 8081),
        "allowed_cidr",
        "203.0.113.0/24",
        id="a wider range covers what the narrow one does not",
    ),
    pytest.param(RANGES, to("2001:db8::"), "allowed_cidr", "2001:db8::/32", id="first"),
    pytest.param(EVERYTHING, to("10.0.0.1"), "allowed_cidr", "0.0.0.0/0", id="private"),
    pytest.param(EVERYTHING, to("fd00::1"), "allowed_cidr", "::/0", id="private 6"),
]


@pytest.mark.parametrize(("policy", "flow", "reason"), DENIED)
def test_denied(policy: CompiledPolicy, flow: Flow, reason: str) -> None:
    assert decide(policy, NOBODY, flow) == Decision(Verdict.DENY, Reason(reason), None)


@pytest.mark.parametrize(("policy", "flow", "reason", "rule"), ALLOWED)
def test_allowed(policy: CompiledPolicy, flow: Flow, reason: str, rule: str) -> None:
    decision = decide(policy, NOBODY, flow)
    lists = {"allowed_hostname": "allowed_hostnames", "allowed_cidr": "allowed_cidrs"}
    expected = Decision(Verdict.ALLOW, Reason(reason), f"{lists[reason]}: {rule}")
    assert decision == expected
    assert decision.allowed


@pytest.mark.parametrize(
    "flow", [to("203.0.113.10"), to(name="d.test"), to("2001::1f")]
)
def test_allow_all_allows_what_is_public(flow: Flow) -> None:
    expected = Decision(Verdict.ALLOW, Reason.ALLOW_ALL, "allow_all")
    if flow.address == ip_address("2001::1f"):  # Teredo is nobody's public address.
        expected = deny(Reason.GUARDRAIL_RESERVED)
    assert decide(ALL, NOBODY, flow) == expected


def test_the_operator_opens_private_ranges_to_every_policy() -> None:
    opened = Guardrails.parse(opened=("10.20.0.0/16",), closed=())
    assert decide(ALL, opened, to("10.20.0.1")).allowed
    assert decide(NAMES, opened, to("10.20.0.1", name="a.test")).allowed
    assert decide(NAMES, opened, to("10.20.0.1")) == deny(Reason.ADDRESS_NOT_ALLOWED)
    assert decide(ALL, opened, to("10.21.0.1")) == deny(Reason.GUARDRAIL_PRIVATE)


@pytest.mark.parametrize(
    "address", ["169.254.169.254", "127.0.0.1", "224.0.0.1", "240.0.0.1"]
)
def test_the_operator_opens_private_ranges_only(address: str) -> None:
    opened = Guardrails.parse(opened=("0.0.0.0/0",), closed=())
    assert not decide(ALL, opened, to(address)).allowed


def test_what_the_operator_closed_no_rule_opens() -> None:
    closed = Guardrails.parse(opened=("203.0.113.0/24",), closed=("203.0.113.0/24",))
    for policy in (ALL, NAMES, RANGES, EVERYTHING):
        flow = to("203.0.113.10", name="a.test")
        assert decide(policy, closed, flow) == deny(Reason.GUARDRAIL_OPERATOR)
    assert decide(ALL, closed, to("203.0.114.10")).allowed


ORDER: list[tuple[str, Callable[[], Decision]]] = [
    (
        "guardrail_loopback",
        lambda: decide(ALL, NOBODY, to("127.0.0.1", is_host=True)),
    ),
    (
        "guardrail_host",
        lambda: decide(
            ALL, Guardrails.parse((), ("10.0.0.0/8",)), to("10.0.0.1", is_host=True)
        ),
    ),
    (
        "guardrail_metadata",
        lambda: decide(
            ALL, Guardrails.parse((), ("169.254.0.0/16",)), to("169.254.169.254")
        ),
    ),
    (
        "guardrail_operator",
        lambda: decide(
            ALL, Guardrails.parse(("10.0.0.0/8",), ("10.0.0.0/8",)), to("10.0.0.1")
        ),
    ),
]


@pytest.mark.parametrize(("reason", "ask"), ORDER, ids=[name for name, _ in ORDER])
def test_the_first_guardrail_that_applies_is_named(
    reason: str, ask: Callable[[], Decision]
) -> None:
    assert ask() == deny(Reason(reason))


class CountingTable(dict[Any, Any]):
    """A table that counts how often it is asked."""

    probes = 0

    def get(self, key: Any, default: Any = None) -> Any:
        type(self).probes += 1
        return super().get(key, default)


def probes(policy: CompiledPolicy, name: str) -> int:
    """How many tables are asked for *name*. The cost of a decision, without a clock."""
    exact, wildcard = CountingTable(policy._exact), CountingTable(policy._wildcard)
    policy._exact, policy._wildcard = exact, wildcard
    CountingTable.probes = 0
    policy.pattern_for(Hostname.parse(name))
    return CountingTable.probes


@pytest.mark.parametrize("name", ["x1.test", "a.b.c.d.e.absent.example", "y.w3.test"])
def test_ten_thousand_names_cost_what_ten_do(name: str) -> None:
    def policy(count: int) -> CompiledPolicy:
        half = count // 2
        names = [f"x{n}.test" for n in range(half)]
        names += [f"*.w{n}.test" for n in range(half)]
        value = NetworkPolicy.from_mapping(
            {"name": "p", "allowed_hostnames": names[:4]}
        )
        many = tuple(
            pattern
            for start in range(0, count, 500)
            for pattern in NetworkPolicy.from_mapping(
                {"name": "p", "allowed_hostnames": names[start : start + 500]}
            ).allowed_hostnames
        )
        return CompiledPolicy(NetworkPolicy(name=value.name, allowed_hostnames=many))

    labels = name.count(".") + 1
    assert probes(policy(10_000), name) == probes(policy(10), name) <= labels
