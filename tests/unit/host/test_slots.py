"""Slot arithmetic: no two slots share anything, and nothing leaves its network."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stockade.host.slots import (
    MAX_INDEX,
    SINKHOLE4,
    SLOT_NETWORK4,
    SLOT_NETWORK6,
    Slot,
)

slots = st.integers(0, MAX_INDEX).map(Slot)


def identity(slot: Slot) -> set[object]:
    return {
        slot.interface,
        slot.interface_index,
        slot.gateway4,
        slot.devbox4,
        slot.gateway6,
        slot.devbox6,
        slot.gateway_mac,
        slot.devbox_mac,
    }


@given(slots, slots)
def test_different_slots_share_nothing(one, other):
    assert identity(one).isdisjoint(identity(other)) == (one != other)


@given(slots)
def test_both_ends_are_one_point_to_point_link(slot):
    assert int(slot.gateway4) ^ 1 == int(slot.devbox4)
    assert int(slot.gateway6) ^ 1 == int(slot.devbox6)


@given(slots)
def test_addresses_stay_in_their_networks(slot):
    assert slot.gateway4 in SLOT_NETWORK4
    assert slot.devbox4 in SLOT_NETWORK4
    assert slot.gateway6 in SLOT_NETWORK6
    assert slot.devbox6 in SLOT_NETWORK6


@given(slots)
def test_nobody_is_the_sinkhole_or_the_network_itself(slot):
    assert SINKHOLE4 in SLOT_NETWORK4
    reserved = {
        SINKHOLE4,
        SLOT_NETWORK4.network_address,
        SLOT_NETWORK4.broadcast_address,
        SLOT_NETWORK6.network_address,
    }
    assert identity(slot).isdisjoint(reserved)


@given(slots)
def test_interface_names_fit_the_kernel(slot):
    assert len(slot.interface) < 16


@given(slots)
def test_hardware_addresses_are_local_and_of_one_station(slot):
    for mac in (slot.gateway_mac, slot.devbox_mac):
        octets = bytes.fromhex(mac.replace(":", ""))
        assert len(octets) == 6
        assert octets[0] & 0b11 == 0b10


@pytest.mark.parametrize("index", [-1, MAX_INDEX + 1])
def test_an_index_out_of_range_is_refused(index):
    with pytest.raises(ValueError, match="not a slot index"):
        Slot(index)
