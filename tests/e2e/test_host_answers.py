"""The gateway answers from any address: by raw sockets, without a privilege of its own."""

from __future__ import annotations

import select
import socket
import struct
import subprocess
import sys
from ipaddress import ip_address

import pytest

from stockade.host.slots import Slot
from tests.e2e.host_box import (
    checksum,
    family_of,
    ip_packet,
    receive,
    running_network,
    udp,
)

pytestmark = pytest.mark.root

SLOT = Slot(0)
PUBLIC = ("203.0.113.7", "2001:db8:7::7")
FRAGMENT = 1480  # of eight octets each, in a link of 1500


@pytest.fixture(scope="module")
def running():
    with running_network(1) as (network, boxes):
        yield network.sockets, boxes[0]


def own(address):
    return str(SLOT.devbox6 if ":" in address else SLOT.devbox4)


def raw_of(sockets, address):
    return sockets.by_name["raw6"] if ":" in address else sockets.by_name["raw4"]


def ask(sockets, box, address, port):
    """A connected client of the box that has asked, and where the answer goes."""
    client = box.socket(family_of(address), socket.SOCK_DGRAM)
    client.connect((address, port))
    client.send(b"question")
    datagram = receive(
        sockets.by_name["udp6.0"] if ":" in address else sockets.by_name["udp4.0"]
    )
    assert datagram.destination == (address, port)
    return client, datagram.source


@pytest.mark.parametrize("address", PUBLIC)
def test_udp_from_a_foreign_source_reaches_the_devbox(running, address):
    sockets, box = running
    client, asker = ask(sockets, box, address, 123)
    with client:
        data = udp((address, 123), asker, b"answer")
        packet = ip_packet(address, own(address), socket.IPPROTO_UDP, data)
        raw_of(sockets, address).sendto(packet, (own(address), 0))
        # A connected socket takes it only from the address and port it asked.
        assert client.recv(100) == b"answer"


@pytest.mark.parametrize("address", PUBLIC)
@pytest.mark.parametrize("size", [1473, 4_000, 60_000])
def test_a_datagram_fragmented_by_hand_arrives_whole(running, address, size):
    sockets, box = running
    client, asker = ask(sockets, box, address, 123)
    with client:
        data = udp((address, 123), asker, bytes(range(250)) * (size // 250) + b"end")
        for packet in fragments(address, own(address), data, identification=size):
            assert len(packet) <= 1500
            raw_of(sockets, address).sendto(packet, (own(address), 0))
        assert client.recv(65_536) == data[8:]


def fragments(source, destination, data, *, identification):
    packets = []
    version6 = ":" in source
    step = FRAGMENT - 40 if version6 else FRAGMENT
    for offset in range(0, len(data), step):
        part = data[offset : offset + step]
        more = offset + step < len(data)
        if version6:
            # RFC 8200 section 4.5; the extension header is number 44.
            head = struct.pack("!BBHI", 17, 0, offset | more, identification)
            packets.append(ip_packet(source, destination, 44, head + part))
        else:
            field = offset // 8 | (0x2000 if more else 0)
            packets.append(
                ip_packet(
                    source,
                    destination,
                    17,
                    part,
                    identification=identification,
                    offset=field,
                )
            )
    return packets


def icmp_error(source, destination, quoted):
    """An ICMP error "administratively prohibited" that quotes *quoted*."""
    if ":" not in source:
        body = b"\x03\x0d\0\0" + bytes(4) + quoted[:548]
        body = body[:2] + struct.pack("!H", checksum(body)) + body[4:]
        return ip_packet(source, destination, socket.IPPROTO_ICMP, body)
    body = b"\x01\x01\0\0" + bytes(4) + quoted[:1232]
    pseudo = ip_address(source).packed + ip_address(destination).packed
    pseudo += struct.pack("!II", len(body), socket.IPPROTO_ICMPV6)
    body = body[:2] + struct.pack("!H", checksum(pseudo + body)) + body[4:]
    return ip_packet(source, destination, socket.IPPROTO_ICMPV6, body)


@pytest.mark.parametrize("address", PUBLIC)
@pytest.mark.parametrize("sender", ["target", "gateway"])
def test_an_icmp_error_reaches_the_client_at_once(running, address, sender):
    sockets, box = running
    gateway = str(SLOT.gateway6 if ":" in address else SLOT.gateway4)
    client, asker = ask(sockets, box, address, 443)
    with client:
        question = udp(asker, (address, 443), b"question")
        quoted = ip_packet(own(address), address, socket.IPPROTO_UDP, question)
        error = icmp_error(
            address if sender == "target" else gateway, own(address), quoted
        )
        raw_of(sockets, address).sendto(error, (own(address), 0))
        assert select.select([client], [], [], 2)[0], "no error within two seconds"
        with pytest.raises(OSError, match=r"No route to host|Permission denied"):
            client.recv(100)


SERVER = """
import os, select, sys
from socket import socket
names = sys.argv[1].split(",")
sockets = {
    name: socket(fileno=int(fd)) for name, fd in zip(names, sys.argv[2:], strict=True)
}
os.setgroups([])
os.setresgid(65534, 65534, 65534)
os.setresuid(65534, 65534, 65534)
status = open("/proc/self/status").read()
assert "CapEff:\\t0000000000000000" in status, status
ready, _, _ = select.select([sockets["tcp4.0"], sockets["tcp6.0"]], [], [], 10)
connection, peer = ready[0].accept()
connection.sendall(repr(connection.getsockname()[:2]).encode())
packet = bytes.fromhex(sys.stdin.readline())
raw = sockets["raw6" if packet[0] >> 4 == 6 else "raw4"]
raw.sendto(packet, (peer[0], 0))
"""


@pytest.mark.parametrize("address", PUBLIC)
def test_a_process_without_privilege_serves_with_inherited_sockets(running, address):
    sockets, box = running
    fds = sockets.fds()
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, ",".join(fds), *map(str, fds.values())],
        pass_fds=tuple(fds.values()),
        stdin=subprocess.PIPE,
    )
    with (
        box.socket(family_of(address), socket.SOCK_STREAM) as stream,
        box.socket(family_of(address), socket.SOCK_DGRAM) as client,
    ):
        client.connect((address, 123))
        data = udp((address, 123), client.getsockname(), b"answer")
        packet = ip_packet(address, own(address), socket.IPPROTO_UDP, data)
        stream.connect((address, 8443))
        assert stream.recv(100).decode() == repr((address, 8443))
        server.communicate(packet.hex().encode())
        assert client.recv(100) == b"answer"
    assert server.returncode == 0
