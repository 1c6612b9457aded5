"""What a devbox must not do is refused at once, and reaches nobody.

The attacker here is stronger than a devbox: root of the machine, inside its namespace. The
controls, the same probes where they are allowed, are in `test_host_delivery.py`.
"""

from __future__ import annotations

import errno
import socket
import struct
import time

import pytest

from stockade.host.slots import Slot
from tests.e2e.host_box import (  # noqa: F401 - two fixtures
    TIMEOUT,
    counted_fixture,
    family_of,
    ip_packet,
    is_silent,
    listening,
    running_fixture,
    send_raw,
    udp,
)

pytestmark = pytest.mark.root

OWN, OTHER = Slot(0), Slot(1)
PUBLIC4, PUBLIC6 = "203.0.113.7", "2001:db8:7::7"


@pytest.mark.parametrize(
    "address",
    [str(OTHER.devbox4), str(OTHER.devbox6), str(OTHER.gateway4), str(OTHER.gateway6)],
)
@pytest.mark.parametrize("port", [22, 80, 15001])
def test_another_slot_cannot_be_reached_by_tcp(running, counted, address, port):
    network, (box, other) = running
    with (
        other.socket(family_of(address), socket.SOCK_STREAM) as server,
        box.socket(family_of(address), socket.SOCK_STREAM) as client,
    ):
        server.bind(("", port))
        server.listen()
        started = time.monotonic()
        with pytest.raises(ConnectionRefusedError):
            client.connect((address, port))
        assert time.monotonic() - started < 0.5
        assert is_silent(server, *listening(network), seconds=0.05)
    assert counted()["rejected"] == 1


@pytest.mark.parametrize(
    "address",
    [str(OTHER.devbox4), str(OTHER.devbox6), str(OTHER.gateway4), str(OTHER.gateway6)],
)
def test_another_slot_cannot_be_reached_by_udp(running, counted, address):
    network, (box, other) = running
    with (
        other.socket(family_of(address), socket.SOCK_DGRAM) as server,
        box.socket(family_of(address), socket.SOCK_DGRAM) as client,
    ):
        server.bind(("", 7777))
        client.connect((address, 7777))
        client.send(b"hello")
        with pytest.raises(OSError) as refused:  # noqa: PT011
            client.recv(10)
        assert refused.value.errno in (errno.EHOSTUNREACH, errno.EACCES)
        assert is_silent(server, *listening(network), seconds=0.05)
    assert counted()["rejected"] == 1


@pytest.mark.parametrize("address", [str(OWN.gateway4), str(OWN.gateway6)])
@pytest.mark.parametrize("port", [22, 80, 5353, 15001, 15002, 15053])
def test_the_gateway_itself_offers_dns_only(running, counted, address, port):
    network, (box, _) = running
    with (
        box.socket(family_of(address), socket.SOCK_STREAM) as client,
        pytest.raises(ConnectionRefusedError),
    ):
        client.connect((address, port))
    with box.socket(family_of(address), socket.SOCK_DGRAM) as client:
        client.connect((address, port))
        client.send(b"hello")
        with pytest.raises(OSError, match=r"No route to host|Permission denied"):
            client.recv(10)
    assert is_silent(*listening(network), seconds=0.05)
    assert counted()["rejected"] == 2


@pytest.mark.parametrize("address", [PUBLIC4, str(OWN.gateway4), str(OTHER.devbox4)])
def test_icmp_echo_is_answered_with_prohibited(running, counted, address):
    _, (box, _) = running
    with box.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as icmp:
        icmp.sendto(b"\x08\0\xf7\xfe\0\x01\0\0", (address, 0))
        answer = icmp.recv(1000)
        assert answer[20:22] == b"\x03\x0d"  # RFC 1812: administratively prohibited
    assert counted()["rejected"] == 1


@pytest.mark.parametrize("address", [PUBLIC6, str(OWN.gateway6), str(OTHER.devbox6)])
def test_icmpv6_echo_is_answered_with_prohibited(running, counted, address):
    _, (box, _) = running
    kind = (socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
    with box.socket(*kind) as icmp:
        icmp.sendto(b"\x80\0\0\0\0\x01\0\0", (address, 0))
        deadline = time.monotonic() + TIMEOUT
        answer = b""
        while answer[:2] != b"\x01\x01" and time.monotonic() < deadline:
            answer = icmp.recv(1000)
        assert answer[:2] == b"\x01\x01"  # RFC 4443: administratively prohibited
    assert counted()["rejected"] == 1


@pytest.mark.parametrize(
    "protocol",
    [0, 2, 4, 41, 46, 47, 50, 51, 89, 103, 112, 132, 136, 253, 255],
)
@pytest.mark.parametrize(
    ("source", "destination"),
    [
        (str(OWN.devbox4), PUBLIC4),
        (str(OWN.devbox4), str(OTHER.devbox4)),
        (str(OWN.devbox6), PUBLIC6),
        (str(OWN.devbox6), str(OTHER.devbox6)),
    ],
)
def test_no_other_protocol_passes(running, counted, protocol, source, destination):
    network, (box, other) = running
    with other.socket(family_of(source), socket.SOCK_RAW, protocol or 255) as witness:
        # A next header that the payload spells out correctly: 8 octets of padding, TCP.
        payload = b"\x06\x00\x01\x04\0\0\0\0" + bytes(32)
        send_raw(box, ip_packet(source, destination, protocol, payload))
        assert is_silent(witness, *listening(network), seconds=0.02)
    assert counted()["rejected"] == 1


@pytest.mark.parametrize(
    ("source", "destination"),
    [
        (str(OWN.devbox4), "224.0.0.251"),
        (str(OWN.devbox4), "239.255.255.250"),
        (str(OWN.devbox6), "ff02::fb"),
    ],
)
def test_groups_are_not_reached(running, counted, source, destination):
    network, (box, _) = running
    data = udp((source, 5353), (destination, 5353), b"query")
    packet = ip_packet(source, destination, socket.IPPROTO_UDP, data)
    with box.socket(family_of(source), socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
        raw.sendto(packet, (destination, 0))
    assert is_silent(*listening(network), seconds=0.05)
    assert counted()["multicast"] == 1


@pytest.mark.parametrize("address", ["255.255.255.255", "0.1.2.3"])
def test_broadcast_and_this_network_are_refused(running, counted, address):
    network, (box, _) = running
    with box.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
        client.sendto(b"hello", (address, 67))
        assert is_silent(*listening(network), seconds=0.05)
    assert counted()["rejected"] == 1


# ------------------------------------------------------------- options, extension headers

PADDING = b"\0\x01\x04\0\0\0\0"  # all but the next header of an 8-octet option header
SOURCE_ROUTE = b"\x83\x07\x04" + bytes([100, 127, 0, 5]) + b"\0"


@pytest.mark.parametrize(
    "options", [b"\x01" * 4, b"\x07\x07\x04\0\0\0\0\0", SOURCE_ROUTE]
)
def test_ip_options_are_refused(running, counted, options):
    network, (box, _) = running
    data = udp((str(OWN.devbox4), 5), (PUBLIC4, 7), b"x")
    send_raw(box, ip_packet(str(OWN.devbox4), PUBLIC4, 17, data, options=options))
    assert is_silent(*listening(network), seconds=0.05)
    assert counted()["rejected"] == 1


# Hop-by-hop, destination options, routing of types 0, 2 and 4 (to the other devbox).
ROUTED = socket.inet_pton(socket.AF_INET6, str(OTHER.devbox6))
EXTENSIONS = {
    "hop-by-hop": (0, PADDING),
    "destination": (60, PADDING),
    "routing 0": (43, b"\x02\x00\x01\0\0\0\0" + ROUTED),
    "routing 2": (43, b"\x02\x02\x01\0\0\0\0" + ROUTED),
    "segment routing": (43, b"\x02\x04\x01\0\0\0\0" + ROUTED),
    "mobility": (135, PADDING),
}


@pytest.mark.parametrize("name", EXTENSIONS)
def test_extension_headers_are_refused(running, counted, name):
    network, (box, other) = running
    kind, extension = EXTENSIONS[name]
    data = udp((str(OWN.devbox6), 5), (PUBLIC6, 7), b"x")
    payload = bytes([17]) + extension + data
    with other.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_UDP) as witness:
        send_raw(box, ip_packet(str(OWN.devbox6), PUBLIC6, kind, payload))
        assert is_silent(witness, *listening(network), seconds=0.05)
    moved = counted()
    assert moved["rejected"] + moved["spoofed"] == 1


def test_an_extension_header_within_fragments_is_refused(running, counted):
    network, (box, _) = running
    data = udp((str(OWN.devbox6), 5), (PUBLIC6, 7), bytes(1993))
    payload = bytes([17]) + PADDING + data
    for offset, last in ((0, False), (1000, True)):
        part = payload[offset:] if last else payload[:1000]
        head = struct.pack("!BBHI", 60, 0, offset | (0 if last else 1), 77)
        send_raw(box, ip_packet(str(OWN.devbox6), PUBLIC6, 44, head + part))
    assert is_silent(*listening(network), seconds=0.05)
    assert counted()["rejected"] == 1
