"""Laws of the decision, and its agreement with a model that a person can check."""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stockade.names import Hostname, HostPattern
from stockade.policy.decide import CompiledPolicy, Flow, Reason, Verdict, decide
from stockade.policy.guardrails import Address, Guardrails, embedded_in
from stockade.policy.model import AllowedCidr, NetworkPolicy, PortRule, Transport
from tests.property import policies as drawn

# Policies are slow to draw; the test of every change has to be quick.
BRIEF = settings(max_examples=50)

# The naive model: lists, loops and texts, and the standard library's own knowledge.
METADATA = (
    "169.254.169.254/32 169.254.170.2/32 100.100.100.200/32 168.63.129.16/32"
    " 192.0.0.192/32 fd00:ec2::/32 fd20:ce::254/128"
).split()
PRIVATE = (
    "10.0.0.0/8 100.64.0.0/10 172.16.0.0/12 192.168.0.0/16 198.18.0.0/15 fc00::/7"
).split()
DOCUMENTATION = (
    "192.0.2.0/24 198.51.100.0/24 203.0.113.0/24 2001:db8::/32 3fff::/20".split()
)


def within(address: Address, texts: list[str]) -> bool:
    networks = map(ip_network, texts)
    return any(n.version == address.version and address in n for n in networks)


def naive_zone(address: Address) -> str:
    """public, private or barred."""
    inner = embedded_in(address)
    if inner is not None:
        translated = within(address, ["64:ff9b::/96", "2002::/16"])
        return naive_zone(inner) if translated else "barred"
    if within(address, METADATA):
        return "barred"
    if within(address, PRIVATE):
        return "private"
    if within(address, DOCUMENTATION):
        return "public"
    # AS112 and AMT have private-looking entries in some versions of the library.
    if within(address, ["192.0.0.0/24", "192.88.99.0/24", "2001::/23"]):
        return "barred"
    if isinstance(address, ipaddress.IPv6Address):
        return "public" if within(address, ["2000::/3"]) else "barred"
    odd = address.is_loopback or address.is_multicast or address.is_link_local
    odd = odd or address.is_reserved or within(address, ["0.0.0.0/8"])
    return "barred" if odd else "public"


def naive(policy: NetworkPolicy, operator: Guardrails, flow: Flow) -> bool:
    """Whether *flow* may leave."""
    if flow.address is not None:
        zone = naive_zone(flow.address)
        closed = [str(n) for n in operator.closed]
        inner = embedded_in(flow.address)
        forms = [flow.address] if inner is None else [flow.address, inner]
        if flow.is_host or zone == "barred" or any(within(f, closed) for f in forms):
            return False
        for entry in () if policy.allow_all else policy.allowed_cidrs:
            if within(flow.address, [str(entry.cidr)]) and (
                not entry.ports
                or any(
                    rule.port <= flow.port <= rule.end_port
                    and rule.protocol in (None, flow.transport)
                    for rule in entry.ports
                )
            ):
                return True
        if zone == "private" and not within(
            flow.address, [str(n) for n in operator.opened]
        ):
            return False
    if policy.allow_all:
        return True
    texts = [str(pattern) for pattern in policy.allowed_hostnames]
    labels = flow.name.text.split(".") if flow.name else []
    above = ["*." + ".".join(labels[n:]) for n in range(1, len(labels))]
    return any(text in texts for text in [".".join(labels), *above] if labels)


@BRIEF
@given(drawn.policies(), drawn.guardrails(), drawn.flows())
def test_the_decision_agrees_with_the_naive_model(
    policy: NetworkPolicy, operator: Guardrails, flow: Flow
) -> None:
    decision = decide(CompiledPolicy(policy), operator, flow)
    assert decision.allowed == naive(policy, operator, flow)


@BRIEF
@given(drawn.policies(), drawn.guardrails(), drawn.flows())
def test_an_allowance_names_its_rule_and_a_denial_names_none(
    policy: NetworkPolicy, operator: Guardrails, flow: Flow
) -> None:
    decision = decide(CompiledPolicy(policy), operator, flow)
    rules = {"allow_all"}
    rules |= {f"allowed_hostnames: {pattern}" for pattern in policy.allowed_hostnames}
    rules |= {f"allowed_cidrs: {entry}" for entry in policy.allowed_cidrs}
    if decision.verdict is Verdict.ALLOW:
        assert decision.rule in rules
        assert decision.reason.value.startswith("allow")
    else:
        assert decision.rule is None
        assert not decision.reason.value.startswith("allow")


@BRIEF
@given(
    drawn.policies(allow_all=False),
    drawn.guardrails(),
    drawn.flows(),
    drawn.patterns() | drawn.cidrs(),
)
def test_adding_a_rule_never_turns_allow_into_deny(
    policy: NetworkPolicy,
    operator: Guardrails,
    flow: Flow,
    rule: HostPattern | AllowedCidr,
) -> None:
    if isinstance(rule, HostPattern):
        wider = replace(policy, allowed_hostnames=(*policy.allowed_hostnames, rule))
    else:
        wider = replace(policy, allowed_cidrs=(*policy.allowed_cidrs, rule))
    if decide(CompiledPolicy(policy), operator, flow).allowed:
        assert decide(CompiledPolicy(wider), operator, flow).allowed


@BRIEF
@given(drawn.policies(allow_all=False), drawn.guardrails(), drawn.flows())
def test_allow_all_denies_nothing_more_but_private_ranges(
    policy: NetworkPolicy, operator: Guardrails, flow: Flow
) -> None:
    """The documented exception: with allow_all the lists are not applied."""
    everything = CompiledPolicy(replace(policy, allow_all=True))
    before = decide(CompiledPolicy(policy), operator, flow)
    after = decide(everything, operator, flow)
    if before.allowed and not after.allowed:
        assert before.reason is Reason.ALLOWED_CIDR
        assert after.reason is Reason.GUARDRAIL_PRIVATE


@BRIEF
@given(drawn.policies(), drawn.guardrails(), drawn.flows(), st.randoms())
def test_the_order_of_host_names_and_ranges_is_irrelevant(
    policy: NetworkPolicy, operator: Guardrails, flow: Flow, chance
) -> None:
    names, ranges = list(policy.allowed_hostnames), list(policy.allowed_cidrs)
    chance.shuffle(names)
    chance.shuffle(ranges)
    other = replace(policy, allowed_hostnames=tuple(names), allowed_cidrs=tuple(ranges))
    one = decide(CompiledPolicy(policy), operator, flow)
    two = decide(CompiledPolicy(other), operator, flow)
    assert (one.verdict, one.reason) == (two.verdict, two.reason)


@given(st.lists(drawn.patterns(), max_size=6), drawn.names())
def test_the_compiled_policy_agrees_with_its_patterns(
    entries: list[HostPattern], name: Hostname
) -> None:
    policy = NetworkPolicy(name="p", allowed_hostnames=tuple(dict.fromkeys(entries)))
    found = CompiledPolicy(policy).pattern_for(name)
    covering = [pattern for pattern in entries if pattern.covers(name)]
    assert (found is None) == (not covering)
    if found is not None:
        assert found in covering
        assert found.wildcard is all(pattern.wildcard for pattern in covering)


@given(drawn.cidrs(), drawn.addresses)
def test_a_range_is_found_by_exactly_its_addresses(
    entry: AllowedCidr, address: Address
) -> None:
    compiled = CompiledPolicy(NetworkPolicy(name="p", allowed_cidrs=(entry,)))
    inside = [entry.cidr[0], entry.cidr[-1]]
    assert all(compiled.cidrs_for(end) == [entry] for end in inside)
    for outside in (int(entry.cidr[0]) - 1, int(entry.cidr[-1]) + 1):
        if 0 <= outside < 1 << entry.cidr.max_prefixlen:
            assert compiled.cidrs_for(type(entry.cidr[0])(outside)) == []
    same_version = address.version == entry.cidr.version
    covered = same_version and address in entry.cidr
    assert (compiled.cidrs_for(address) == [entry]) is covered


@pytest.mark.parametrize(
    ("cidr", "inside", "outside"),
    [
        ("255.255.255.255/32", "255.255.255.255", "255.255.255.254"),
        ("255.255.255.254/31", "255.255.255.255", "255.255.255.253"),
        ("0.0.0.0/32", "0.0.0.0", "0.0.0.1"),
        ("0.0.0.0/0", "255.255.255.255", "::"),
        ("128.0.0.0/1", "255.255.255.255", "127.255.255.255"),
        ("::/0", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "255.255.255.255"),
        ("::/128", "::", "::1"),
        (
            "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe/127",
            "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffd",
        ),
    ],
)
def test_ranges_at_the_ends_of_the_address_space(
    cidr: str, inside: str, outside: str
) -> None:
    entry = AllowedCidr(ip_network(cidr))
    compiled = CompiledPolicy(NetworkPolicy(name="p", allowed_cidrs=(entry,)))
    assert compiled.cidrs_for(ip_address(inside)) == [entry]
    assert compiled.cidrs_for(ip_address(outside)) == []


@given(drawn.port_rules(), drawn.ports, drawn.transports)
def test_a_port_rule_for_one_transport_is_within_the_one_for_both(
    rule: PortRule, port: int, transport: Transport
) -> None:
    both = replace(rule, protocol=None)
    assert both.covers(port, transport) or not rule.covers(port, transport)
