"""Devboxes are spread over lanes: what each sends waits at the sockets of its own lane."""

from __future__ import annotations

import select
import socket

import pytest

from stockade.host.network import GatewayNetwork
from stockade.host.slots import Slot
from tests.e2e.host_box import Box

LANES = 4
BOXES = 6
ADDRESSES = ("203.0.113.9", "2001:db8::9")


@pytest.fixture(scope="module")
def spread():
    network = GatewayNetwork(LANES)
    network.start()
    boxes: list[Box] = []
    try:
        for index in range(BOXES):
            boxes.append(Box())
            network.attach(Slot(index), boxes[-1].pid)
        yield network, boxes
    finally:
        network.stop()
        for box in boxes:
            box.__exit__()


def woken(network: GatewayNetwork) -> list[str]:
    """The sockets that received something."""
    names = {sock: name for name, sock in network.sockets.by_name.items()}
    ready, _, _ = select.select(list(names), [], [], 2)
    for sock in ready:
        if sock.type == socket.SOCK_STREAM:
            sock.accept()[0].close()
        else:
            sock.recv(2_000)
    return [names[sock] for sock in ready]


def suffix(address: str, slot: Slot) -> str:
    return f"{6 if ':' in address else 4}.{slot.lane(LANES)}"


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize("index", range(BOXES))
def test_each_kind_arrives_at_the_lane_of_its_devbox(spread, index, address):
    network, boxes = spread
    slot, box = Slot(index), boxes[index]
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    own_resolver = slot.gateway6 if ":" in address else slot.gateway4
    for target, port, kind in (
        (address, 9, "udp"),
        (address, 53, "dnsx"),
        (str(own_resolver), 53, "dns"),
    ):
        with box.socket(family, socket.SOCK_DGRAM) as client:
            client.sendto(b"x", (target, port))
            assert woken(network) == [kind + suffix(address, slot)]
    for port, kind in ((8443, "tcp"), (53, "dnstcp")):
        with box.socket(family, socket.SOCK_STREAM) as client:
            client.connect((address, port))
            assert woken(network) == [kind + suffix(address, slot)]


def test_a_gateway_with_lanes_can_be_verified_and_repaired(spread):
    network, _ = spread
    assert network.verify() == []
    network.repair()
    assert network.verify() == []
