"""A devbox is its interface and its addresses: nobody can pass for another.

The attacker here is stronger than a devbox: root of the machine, inside its namespace.
"""

from __future__ import annotations

import socket
import struct
import subprocess

import pytest

from stockade.host.slots import Slot
from tests.e2e.host_box import (  # noqa: F401 - two fixtures
    counted_fixture,
    ip_packet,
    is_silent,
    listening,
    receive,
    running_fixture,
    send_raw,
    udp,
)

pytestmark = pytest.mark.root

OWN, OTHER = Slot(0), Slot(1)
PUBLIC4, PUBLIC6 = "203.0.113.7", "2001:db8:7::7"
_SO_MARK = 36


@pytest.mark.parametrize(
    ("source", "destination"),
    [
        (str(OTHER.devbox4), PUBLIC4),
        (str(OWN.gateway4), PUBLIC4),
        ("127.0.0.1", PUBLIC4),
        ("203.0.113.99", PUBLIC4),
        (str(OTHER.devbox6), PUBLIC6),
        (str(OWN.gateway6), PUBLIC6),
        ("fe80::1", PUBLIC6),
        ("2001:db8::99", PUBLIC6),
    ],
)
@pytest.mark.parametrize("port", [53, 7777])
def test_a_foreign_source_is_dropped_and_counted(
    running, counted, source, destination, port
):
    network, (box, _) = running
    data = udp((source, 5), (destination, port), b"spoofed")
    send_raw(box, ip_packet(source, destination, socket.IPPROTO_UDP, data))
    assert is_silent(*listening(network), seconds=0.05)
    assert counted()["spoofed"] == 1


def test_a_loopback_source_never_arrives(running):
    # The kernel drops it before any rule could count it.
    network, (box, _) = running
    data = udp(("::1", 5), (PUBLIC6, 7777), b"spoofed")
    send_raw(box, ip_packet("::1", PUBLIC6, socket.IPPROTO_UDP, data))
    assert is_silent(*listening(network), seconds=0.05)


def test_the_own_source_is_let_in_by_the_same_means(running, counted):
    network, (box, _) = running
    data = udp((str(OWN.devbox4), 5), (PUBLIC4, 7777), b"honest")
    send_raw(box, ip_packet(str(OWN.devbox4), PUBLIC4, socket.IPPROTO_UDP, data))
    assert receive(network.sockets.by_name["udp4.0"]).data == b"honest"
    assert counted()["spoofed"] == 0


def fragments(source, identification):
    data = udp((source, 5), (PUBLIC4, 7777), b"a" * 1000)
    more, rest = 0x2000, 63  # 63 * 8 = 504 octets
    return [
        ip_packet(
            source, PUBLIC4, 17, data[:504], identification=identification, offset=more
        ),
        ip_packet(
            source, PUBLIC4, 17, data[504:], identification=identification, offset=rest
        ),
    ]


def test_a_fragment_cannot_slip_into_the_datagram_of_another(running, counted):
    network, (box, other) = running
    first, second = fragments(str(OTHER.devbox4), 4242)
    send_raw(other, first)
    send_raw(box, second)  # with the other's source
    assert is_silent(network.sockets.by_name["udp4.0"], seconds=0.2)
    assert counted()["spoofed"] == 1
    send_raw(other, second)
    assert receive(network.sockets.by_name["udp4.0"]).source == (str(OTHER.devbox4), 5)


@pytest.mark.parametrize("mark", [1, 2, 0x7FFFFFFF])
def test_a_mark_set_in_the_devbox_has_no_effect(running, counted, mark):
    network, (box, _) = running
    for address in (str(OWN.gateway4), str(OTHER.devbox4)):
        with box.socket(socket.AF_INET, socket.SOCK_STREAM) as client:
            client.setsockopt(socket.SOL_SOCKET, _SO_MARK, mark)
            with pytest.raises(ConnectionRefusedError):
                client.connect((address, 15001))
    with box.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        raw.setsockopt(socket.SOL_SOCKET, _SO_MARK, mark)
        data = udp((str(OWN.devbox4), 5), (str(OWN.gateway4), 15002), b"x")
        packet = ip_packet(str(OWN.devbox4), str(OWN.gateway4), 17, data)
        raw.sendto(packet, (str(OWN.gateway4), 0))
    assert is_silent(*listening(network), seconds=0.05)
    assert counted()["rejected"] == 3


def test_what_the_devbox_says_of_its_neighbours_is_not_believed(running):
    network, (box, _) = running
    other_mac = bytes.fromhex(OTHER.devbox_mac.replace(":", ""))
    ethernet = b"\xff" * 6 + other_mac + b"\x08\x06"
    body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 2) + other_mac
    body += OTHER.devbox4.packed + bytes(6) + OWN.gateway4.packed
    with box.netns.entered():
        packet = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    with packet:
        packet.bind(("eth0", 0))
        packet.send(ethernet + body)
    with network.netns.entered():
        listed = subprocess.run(
            ["ip", "neigh", "show"], capture_output=True, text=True, check=True
        ).stdout.splitlines()
    found = {(words[2], words[4]) for words in map(str.split, listed)}
    assert found == {(slot.interface, slot.devbox_mac) for slot in (OWN, OTHER)}
