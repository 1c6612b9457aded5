"""Zones: the special-purpose registries, and every form in which an address hides."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

import pytest

from stockade.policy.guardrails import Guardrails, Zone, embedded_in, zone_of

# The IANA special-purpose registries (RFC 6890 and updates), written down anew; without
# the documentation ranges, which are public here, and the anycast services that are
# reachable globally by their registration (AS112: 192.31.196.0/24, 192.175.48.0/24,
# 2620:4f:8000::/48; AMT: 192.52.193.0/24).
SPECIAL = (
    "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12"
    " 192.0.0.0/24 192.0.0.0/29 192.0.0.8/32 192.0.0.9/32 192.0.0.10/32"
    " 192.0.0.170/31 192.88.99.0/24 192.168.0.0/16 198.18.0.0/15 224.0.0.0/4"
    " 240.0.0.0/4 255.255.255.255/32"
    " ::1/128 ::/128 ::ffff:0:0/96 64:ff9b:1::/48 100::/64 100:0:0:1::/64 2001::/23"
    " 2001::/32 2001:1::1/128 2001:1::2/128 2001:1::3/128 2001:2::/48 2001:3::/32"
    " 2001:4:112::/48 2001:10::/28 2001:20::/28 2001:30::/28 5f00::/16 fc00::/7"
    " fec0::/10 fe80::/10 ff00::/8"
).split()
DOCUMENTATION = (
    "192.0.2.0/24 198.51.100.0/24 203.0.113.0/24 2001:db8::/32 3fff::/20".split()
)
METADATA = (
    "169.254.169.254 169.254.170.2 100.100.100.200 168.63.129.16 192.0.0.192"
    " fd00:ec2::254 fd20:ce::254".split()
)
GUARDED4 = tuple(ip_network(text) for text in SPECIAL if ":" not in text)


def ends(text: str) -> list[IPv4Address | IPv6Address]:
    network = ip_network(text)
    return [network[0], network[-1], network[network.num_addresses // 2]]


@pytest.mark.parametrize("text", SPECIAL)
def test_a_special_purpose_range_is_not_public(text: str) -> None:
    assert [zone_of(address) for address in ends(text)].count(Zone.PUBLIC) == 0


@pytest.mark.parametrize("text", DOCUMENTATION)
def test_documentation_ranges_are_public(text: str) -> None:
    assert {zone_of(address) for address in ends(text)} == {Zone.PUBLIC}


@pytest.mark.parametrize("text", METADATA)
def test_metadata_services_have_their_own_zone(text: str) -> None:
    assert zone_of(ip_address(text)) is Zone.METADATA


@pytest.mark.parametrize(
    ("text", "zone"),
    [
        pytest.param("1.0.0.0", Zone.PUBLIC, id="after 0/8"),
        pytest.param("9.255.255.255", Zone.PUBLIC, id="before 10/8"),
        pytest.param("11.0.0.0", Zone.PUBLIC, id="after 10/8"),
        pytest.param("100.63.255.255", Zone.PUBLIC, id="before 100.64/10"),
        pytest.param("100.128.0.0", Zone.PUBLIC, id="after 100.64/10"),
        pytest.param("126.255.255.255", Zone.PUBLIC, id="before 127/8"),
        pytest.param("128.0.0.0", Zone.PUBLIC, id="after 127/8"),
        pytest.param("172.32.0.0", Zone.PUBLIC, id="after 172.16/12"),
        pytest.param("223.255.255.255", Zone.PUBLIC, id="before multicast"),
        pytest.param("224.0.0.0", Zone.MULTICAST, id="the first of multicast"),
        pytest.param("255.255.255.255", Zone.RESERVED, id="broadcast"),
        pytest.param("127.255.255.255", Zone.LOOPBACK, id="the last of loopback"),
        pytest.param("169.254.0.1", Zone.LINK_LOCAL, id="link-local"),
        pytest.param("10.0.0.1", Zone.PRIVATE, id="private"),
        pytest.param("fdff::1", Zone.PRIVATE, id="unique local"),
        pytest.param("fe80::1", Zone.LINK_LOCAL, id="link-local, version 6"),
        pytest.param("ff02::fb", Zone.MULTICAST, id="multicast, version 6"),
        pytest.param("::1", Zone.LOOPBACK, id="loopback, version 6"),
        pytest.param("2001:200::", Zone.PUBLIC, id="after 2001::/23"),
        pytest.param("3fff:ffff::", Zone.PUBLIC, id="the last of 2000::/3"),
        pytest.param("4000::", Zone.RESERVED, id="after 2000::/3"),
        pytest.param("2001:db8::1%eth0", Zone.LINK_LOCAL, id="an address with a zone"),
    ],
)
def test_the_edges(text: str, zone: Zone) -> None:
    assert zone_of(ip_address(text)) is zone


def forms(address: IPv4Address) -> dict[str, IPv6Address]:
    """The IPv6 addresses that mean *address* to some kernel, router or translator."""
    number = int(address)
    return {
        "mapped": IPv6Address(0xFFFF << 32 | number),
        "compatible": IPv6Address(number),
        "translated": IPv6Address(0xFFFF << 48 | number),
        "nat64": IPv6Address(int(IPv6Address("64:ff9b::")) | number),
        "6to4": IPv6Address(0x2002 << 112 | number << 80 | 1),
        "teredo": IPv6Address(0x20010000 << 96 | number << 64 | (number ^ 0xFFFFFFFF)),
    }


@pytest.mark.parametrize("network", GUARDED4, ids=str)
@pytest.mark.parametrize("form", forms(IPv4Address(0)))
def test_no_form_of_a_guarded_address_is_public(network, form: str) -> None:
    for address in (network[0], network[-1]):
        assert zone_of(forms(address)[form]) is not Zone.PUBLIC


@pytest.mark.parametrize("form", ["mapped", "compatible"])
@pytest.mark.parametrize("text", ["10.20.0.10", "203.0.113.66", "100.64.0.1"])
def test_what_the_kernel_takes_for_ipv4_is_open_to_no_rule(
    form: str, text: str
) -> None:
    """A rule on ::/0 would else open private IPv4 addresses by a AAAA answer."""
    assert zone_of(forms(IPv4Address(text))[form]) is Zone.RESERVED


@pytest.mark.parametrize("form", ["nat64", "6to4"])
def test_a_translated_address_is_in_the_zone_of_the_one_inside(form: str) -> None:
    def zone(text: str) -> Zone:
        return zone_of(forms(IPv4Address(text))[form])

    assert zone("203.0.113.66") is Zone.PUBLIC
    assert zone("10.0.0.1") is Zone.PRIVATE
    assert zone("169.254.169.254") is Zone.METADATA
    assert zone("127.0.0.1") is Zone.LOOPBACK


def test_the_address_inside_is_found() -> None:
    inside = IPv4Address("203.0.113.66")
    found = {name: embedded_in(address) for name, address in forms(inside).items()}
    assert {name for name, address in found.items() if address == inside} == {
        "mapped",
        "compatible",
        "nat64",
        "6to4",
    }
    assert embedded_in(inside) is None
    assert embedded_in(IPv6Address("2001:db8::1")) is None


def test_the_operators_lists_are_of_both_versions() -> None:
    guardrails = Guardrails.parse(
        opened=("10.0.0.0/8", "fd00::/8"), closed=("203.0.113.0/24", "2001:db8::/32")
    )
    assert guardrails.is_opened(ip_address("10.1.2.3"))
    assert guardrails.is_opened(ip_address("fd12::1"))
    assert not guardrails.is_opened(ip_address("11.0.0.0"))
    assert guardrails.is_closed(ip_address("203.0.113.255"))
    assert guardrails.is_closed(ip_address("2001:db8:ffff::"))
    assert not guardrails.is_closed(ip_address("2001:db9::"))
    assert not guardrails.is_opened(ip_address("203.0.113.1"))


@pytest.mark.parametrize("form", ["mapped", "compatible", "nat64", "6to4"])
def test_what_the_operator_closed_is_closed_in_every_form(form: str) -> None:
    guardrails = Guardrails.parse(opened=(), closed=("203.0.113.0/24",))
    assert guardrails.is_closed(forms(IPv4Address("203.0.113.66"))[form])
    assert not guardrails.is_closed(forms(IPv4Address("203.0.114.66"))[form])


def test_a_malformed_list_is_refused() -> None:
    with pytest.raises(ValueError, match="host bits"):
        Guardrails.parse(opened=("10.0.0.1/8",), closed=())


def test_the_global_unicast_space_is_the_only_public_one() -> None:
    public = IPv6Network("2000::/3")
    for high in range(0, 1 << 16, 7):
        address = IPv6Address(high << 112 | 1)
        if zone_of(address) is Zone.PUBLIC:
            assert address in public or embedded_in(address) is not None
