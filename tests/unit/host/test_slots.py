"""Slot arithmetic: no two slots share anything, and nothing leaves its network."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stockade.host.slots import (
    MAX_INDEX,
    SLOT_NETWORK4,
    SLOT_NETWORK6,
    Slot,
    lane_address,
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
def test_nobody_is_the_network_itself(slot):
    reserved = {
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


@given(slots, st.sampled_from((1, 2, 16)))
def test_the_lane_of_a_slot_is_in_both_its_addresses(slot, lanes):
    lane = slot.lane(lanes)
    assert 0 <= lane < lanes
    for address, version in ((slot.devbox4, 4), (slot.devbox6, 6)):
        mask = int(lane_address(version, lanes - 1))
        assert int(address) & mask == int(lane_address(version, lane))


def test_neighbours_are_in_different_lanes():
    assert {Slot(index).lane(16) for index in range(16)} == set(range(16))
