"""Strategies: names, patterns, ranges, policies and flows that meet each other often.

Everything is drawn from small alphabets, so that rules and flows touch: half of all
drawn flows are allowed by something.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import Any

from hypothesis import strategies as st

from stockade.names import Hostname, HostPattern
from stockade.policy.decide import Flow
from stockade.policy.guardrails import Address, Guardrails
from stockade.policy.model import AllowedCidr, NetworkPolicy, PortRule, Transport

LABELS = ("a", "b", "ab", "w", "test", "_x", "a-b")
PORTS = (1, 22, 53, 80, 443, 8080, 65_535)
# Addresses around the edges of the space, of each zone, and of usual ranges.
EDGES4 = tuple(
    IPv4Address(text)
    for text in (
        "0.0.0.0 1.0.0.0 9.255.255.255 10.0.0.0 10.255.255.255 11.0.0.0 100.64.0.1"
        " 127.0.0.1 169.254.169.254 172.16.0.1 192.168.0.0 203.0.113.0 203.0.113.255"
        " 223.255.255.255 224.0.0.0 240.0.0.0 255.255.255.254 255.255.255.255"
    ).split()
)
EDGES6 = tuple(
    IPv6Address(text)
    for text in (
        ":: ::1 ::ffff:10.0.0.1 ::ffff:203.0.113.1 64:ff9b::a00:1 64:ff9b::cb00:7101"
        " 2001:db8:: 2001:db8:ffff:ffff:ffff:ffff:ffff:ffff 2002:a00:1:: 2002:cb00:7101::"
        " fc00:: fd00:ec2::254 fe80::1 ff02::1"
        " ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"
    ).split()
)

transports = st.sampled_from(Transport)
ports = st.sampled_from(PORTS)


@st.composite
def names(draw: st.DrawFn) -> Hostname:
    """A name of one to four labels, the last one no number."""
    labels = draw(st.lists(st.sampled_from(LABELS), min_size=1, max_size=4))
    return Hostname.parse(".".join(labels))


@st.composite
def patterns(draw: st.DrawFn) -> HostPattern:
    """A name, or a wildcard over at least two labels."""
    suffix = draw(names())
    wildcard = draw(st.booleans()) and "." in suffix.text
    return HostPattern(suffix, wildcard)


addresses: st.SearchStrategy[Address] = st.one_of(
    st.sampled_from(EDGES4),
    st.sampled_from(EDGES6),
    st.ip_addresses(v=4).map(lambda address: IPv4Address(int(address))),
    st.ip_addresses(v=6).map(lambda address: IPv6Address(int(address))),
)


@st.composite
def port_rules(draw: st.DrawFn) -> PortRule:
    """One port or a range, of one transport or both."""
    first, last = sorted((draw(ports), draw(ports)))
    return PortRule(first, last, draw(st.none() | transports))


@st.composite
def cidrs(draw: st.DrawFn) -> AllowedCidr:
    """A range of any length around an interesting address."""
    address = draw(addresses)
    width = address.max_prefixlen
    length = draw(st.integers(0, width) | st.sampled_from((0, 8, width - 1, width)))
    network = ip_network(f"{address}/{length}", strict=False)
    return AllowedCidr(network, tuple(draw(st.lists(port_rules(), max_size=2))))


@st.composite
def policies(draw: st.DrawFn, /, **fixed: Any) -> NetworkPolicy:
    """Any policy; *fixed* are fields not to draw."""
    fields: dict[str, Any] = {
        "allow_all": draw(st.booleans()) and draw(st.booleans()),
        "allowed_hostnames": tuple(draw(st.lists(patterns(), max_size=5, unique=True))),
        "allowed_cidrs": tuple(draw(st.lists(cidrs(), max_size=4))),
        "allow_devbox_to_devbox": draw(st.booleans()),
        **fixed,
    }
    fields["allow_devbox_to_devbox"] |= fields["allow_all"]
    return NetworkPolicy(name=draw(st.text(min_size=1, max_size=9)), **fields)


@st.composite
def flows(draw: st.DrawFn) -> Flow:
    """A flow with a name, an address, both or neither."""
    return Flow(
        draw(ports),
        draw(transports),
        draw(st.none() | addresses),
        draw(st.none() | names()),
        is_host=draw(st.booleans()) and draw(st.booleans()),
    )


@st.composite
def guardrails(draw: st.DrawFn) -> Guardrails:
    """What the operator opened and closed."""
    networks = st.lists(cidrs().map(lambda entry: entry.cidr), max_size=2).map(tuple)
    return Guardrails(draw(networks), draw(networks))
