"""Sinkhole addresses: one a denied name, reused in order, never of a slot."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address

from stockade.gateway.sinkhole import SINKHOLE_NETWORK, Sinkhole, is_sinkhole
from stockade.host.slots import SLOT_NETWORK4
from stockade.names import Hostname


def name(number: int) -> Hostname:
    return Hostname(f"d{number}.test")


def test_a_name_keeps_its_address() -> None:
    sinkhole = Sinkhole()
    first, second = sinkhole.address_for(name(1)), sinkhole.address_for(name(2))
    assert first != second
    assert sinkhole.address_for(name(1)) == first
    assert sinkhole.name_of(first) == name(1)
    assert sinkhole.name_of(second) == name(2)


def test_the_oldest_address_is_used_again_when_there_are_no_more() -> None:
    sinkhole = Sinkhole(max_names=2)
    one, two, three = (sinkhole.address_for(name(number)) for number in (1, 2, 3))
    assert three == one != two
    assert sinkhole.name_of(three) == name(3)
    assert sinkhole.address_for(name(1)) == two  # Forgotten, and given anew.
    assert sinkhole.name_of(two) == name(1)


def test_all_its_addresses_are_sinkholes_and_none_is_of_a_slot() -> None:
    sinkhole = Sinkhole()
    addresses = {sinkhole.address_for(name(number)) for number in range(8_192)}
    assert len(addresses) == 8_192
    assert all(map(is_sinkhole, addresses))
    assert not SINKHOLE_NETWORK.overlaps(SLOT_NETWORK4)
    assert SINKHOLE_NETWORK.network_address not in addresses


def test_other_addresses_stand_for_nothing() -> None:
    sinkhole = Sinkhole()
    sinkhole.address_for(name(1))
    for address in (ip_address("203.0.113.1"), IPv6Address("::ffff:100.126.0.1")):
        assert sinkhole.name_of(address) is None
        assert not is_sinkhole(address)
