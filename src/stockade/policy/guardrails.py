"""Addresses that no policy opens, `allow_all` included, and those that need a CIDR rule.

Sources: the IANA special-purpose address registries (RFC 6890 and its updates), and the
metadata services of the public clouds. The documentation ranges (RFC 5737, RFC 3849)
are ordinary public addresses here: nobody routes them, and test networks live in them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_network,
)

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


class Zone(Enum):
    """What kind of place an address is. Only `PUBLIC` is open to every rule."""

    PUBLIC = "public"
    PRIVATE = "private"
    LOOPBACK = "loopback"
    LINK_LOCAL = "link_local"
    METADATA = "metadata"
    MULTICAST = "multicast"
    RESERVED = "reserved"


# The first entry that covers an address decides, so that single addresses come first.
_ZONES4 = tuple(
    (IPv4Network(text), zone)
    for text, zone in (
        ("169.254.169.254/32", Zone.METADATA),
        ("169.254.170.2/32", Zone.METADATA),
        ("100.100.100.200/32", Zone.METADATA),
        ("168.63.129.16/32", Zone.METADATA),
        ("192.0.0.192/32", Zone.METADATA),
        ("0.0.0.0/8", Zone.RESERVED),
        ("10.0.0.0/8", Zone.PRIVATE),
        ("100.64.0.0/10", Zone.PRIVATE),
        ("127.0.0.0/8", Zone.LOOPBACK),
        ("169.254.0.0/16", Zone.LINK_LOCAL),
        ("172.16.0.0/12", Zone.PRIVATE),
        ("192.0.0.0/24", Zone.RESERVED),
        ("192.88.99.0/24", Zone.RESERVED),
        ("192.168.0.0/16", Zone.PRIVATE),
        ("198.18.0.0/15", Zone.PRIVATE),
        ("224.0.0.0/4", Zone.MULTICAST),
        ("240.0.0.0/4", Zone.RESERVED),
    )
)
# As numbers: the question is asked several times for each connection.
_RANGES4 = tuple((int(network[0]), int(network[-1]), zone) for network, zone in _ZONES4)
_ZONES6 = tuple(
    (IPv6Network(text), zone)
    for text, zone in (
        ("fd00:ec2::/32", Zone.METADATA),
        ("fd20:ce::254/128", Zone.METADATA),
        ("::1/128", Zone.LOOPBACK),
        ("fc00::/7", Zone.PRIVATE),
        ("fe80::/10", Zone.LINK_LOCAL),
        ("ff00::/8", Zone.MULTICAST),
        ("2001::/23", Zone.RESERVED),
        ("2000::/3", Zone.PUBLIC),
    )
)
# Formats that carry an IPv4 address (RFC 4291, 6052, 3056): its offset in bits, and
# whether a packet may be sent to such an address at all. They are judged by the address
# inside, since a translator on the way would deliver there.
_EMBEDDED = (
    (IPv6Network("::/96"), 0, False),
    (IPv6Network("::ffff:0:0/96"), 0, False),
    (IPv6Network("64:ff9b::/96"), 0, True),
    (IPv6Network("2002::/16"), 80, True),
)


def zone_of(address: Address) -> Zone:
    """The kind of place *address* is.

    >>> zone_of(IPv6Address("64:ff9b::a9fe:a9fe"))
    <Zone.METADATA: 'metadata'>
    """
    if isinstance(address, IPv4Address):
        number = int(address)
        for first, last, zone in _RANGES4:
            if first <= number <= last:
                return zone
        return Zone.PUBLIC
    if address.scope_id is not None:
        return Zone.LINK_LOCAL
    for network6, zone in _ZONES6:
        if address in network6 and zone is not Zone.PUBLIC:
            return zone
    inner = embedded_in(address)
    if inner is not None:
        zone = zone_of(inner)
        # To the kernel a mapped address *is* the IPv4 one, whatever rule of a policy
        # covers it: a rule for IPv6 opens no private IPv4 range.
        openable = zone in (Zone.PUBLIC, Zone.PRIVATE)
        return Zone.RESERVED if openable and not _is_routable(address) else zone
    return Zone.PUBLIC if address in _ZONES6[-1][0] else Zone.RESERVED


def embedded_in(address: Address) -> IPv4Address | None:
    """The IPv4 address that an IPv6 address carries, in a format that has one."""
    if isinstance(address, IPv6Address):
        for network, offset, _ in _EMBEDDED:
            if address in network:
                return IPv4Address((int(address) >> offset) & 0xFFFFFFFF)
    return None


def _is_routable(address: IPv6Address) -> bool:
    return any(address in network and routable for network, _, routable in _EMBEDDED)


@dataclass(frozen=True, slots=True)
class Guardrails:
    """The operator's part: private ranges opened to every policy, ranges closed to all."""

    opened: tuple[Network, ...] = ()
    closed: tuple[Network, ...] = ()

    @classmethod
    def parse(cls, opened: tuple[str, ...], closed: tuple[str, ...]) -> Guardrails:
        """Read both lists of CIDRs. Raises `ValueError` for one that is malformed."""
        return cls(
            tuple(ip_network(text) for text in opened),
            tuple(ip_network(text) for text in closed),
        )

    def is_opened(self, address: Address) -> bool:
        """Whether the operator opened the private range *address* is in."""
        return any(
            address.version == network.version and address in network
            for network in self.opened
        )

    def is_closed(self, address: Address) -> bool:
        """Whether the operator closed *address* to every policy, in whatever form."""
        if not self.closed:
            return False
        inner = embedded_in(address)
        return any(
            form is not None and form.version == network.version and form in network
            for network in self.closed
            for form in (address, inner)
        )
