"""What the tests of the host layer share: a devbox reduced to its namespaces.

A `Box` is a process in a user and a network namespace of its own, as an OCI runtime makes
them. Its sockets are opened from here, by a thread that enters the namespace; as root of
the machine that thread may do more in there than a devbox ever could.
"""

from __future__ import annotations

import select
import socket
import struct
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Self

import pytest

from stockade.host import netns
from stockade.host.network import GatewayNetwork
from stockade.host.slots import Slot
from stockade.host.sockets import IP_RECVORIGDSTADDR, IPV6_RECVORIGDSTADDR

TIMEOUT = 5.0
_START = ["unshare", "--user", "--map-root-user", "--net", "sh", "-c"]


class Box:
    """A process with nothing but its own namespaces. Ends with the `with` block."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [*_START, "echo ready; exec cat"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n"
        self.pid = self._process.pid
        self.netns = netns.of_process(self.pid)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.netns.close()
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def socket(self, family: int, kind: int, protocol: int = 0) -> socket.socket:
        """A blocking socket of the box, with a time limit."""
        with self.netns.entered():
            sock = socket.socket(family, kind, protocol)
        sock.settimeout(TIMEOUT)
        return sock

    def run(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """Run a program in the box's network namespace."""
        with self.netns.entered():
            return subprocess.run(argv, capture_output=True, text=True, check=False)


@dataclass(frozen=True, slots=True)
class Datagram:
    """What a transparent socket received: from where, and to where it was sent."""

    data: bytes
    source: tuple[str, int]
    destination: tuple[str, int]


def family_of(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def accept(listener: socket.socket) -> socket.socket:
    """The next connection of a non-blocking listener."""
    assert select.select([listener], [], [], TIMEOUT)[0], "nobody connected"
    connection, _ = listener.accept()
    connection.settimeout(TIMEOUT)
    return connection


def receive(sock: socket.socket) -> Datagram:
    """The next datagram of a non-blocking transparent socket."""
    assert select.select([sock], [], [], TIMEOUT)[0], "no datagram arrived"
    data, control, _, source = sock.recvmsg(65_536, 256)
    for level, kind, value in control:
        if (level, kind) == (socket.IPPROTO_IP, IP_RECVORIGDSTADDR):
            (port,) = struct.unpack_from("!H", value, 2)
            return Datagram(data, source[:2], (str(IPv4Address(value[4:8])), port))
        if (level, kind) == (socket.IPPROTO_IPV6, IPV6_RECVORIGDSTADDR):
            (port,) = struct.unpack_from("!H", value, 2)
            return Datagram(data, source[:2], (str(IPv6Address(value[8:24])), port))
    raise AssertionError("the datagram says nothing of its original destination")


def is_silent(*socks: socket.socket, seconds: float = 0.2) -> bool:
    """Whether nothing arrives at any of *socks* for a while."""
    return not select.select(socks, [], [], seconds)[0]


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    padded = data + bytes(len(data) % 2)
    total = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ip_packet(
    source: str,
    destination: str,
    protocol: int,
    payload: bytes,
    *,
    identification: int = 0,
    offset: int = 0,
    options: bytes = b"",
) -> bytes:
    """An IP packet of the addresses' family. *offset* is IPv4's flags and offset field."""
    sender, receiver = ip_address(source).packed, ip_address(destination).packed
    if len(sender) == 16:
        head = struct.pack("!IHBB", 0x60000000, len(payload), protocol, 64)
        return head + sender + receiver + payload
    words = 5 + len(options) // 4
    head = struct.pack(
        "!BBHHHBBH",
        0x40 | words,
        0,
        4 * words + len(payload),
        identification,
        offset,
        64,
        protocol,
        0,
    )
    return head + sender + receiver + options + payload


def udp(source: tuple[str, int], destination: tuple[str, int], data: bytes) -> bytes:
    """A UDP datagram with its checksum."""
    length = 8 + len(data)
    head = struct.pack("!HHHH", source[1], destination[1], length, 0)
    pseudo = ip_address(source[0]).packed + ip_address(destination[0]).packed
    pseudo += struct.pack("!IHBB", length, 0, 0, socket.IPPROTO_UDP)
    total = checksum(pseudo + head + data) or 0xFFFF
    return head[:6] + struct.pack("!H", total) + data


@contextmanager
def running_network(boxes: int) -> Iterator[tuple[GatewayNetwork, list[Box]]]:
    """A gateway network with *boxes* on slots 0, 1, ..."""
    network = GatewayNetwork()
    network.start()
    attached: list[Box] = []
    try:
        for index in range(boxes):
            attached.append(Box())
            network.attach(Slot(index), attached[-1].pid)
        yield network, attached
    finally:
        network.stop()
        for box in attached:
            box.__exit__()


def listening(network: GatewayNetwork) -> list[socket.socket]:
    """All sockets of a gateway that could receive something from a devbox."""
    every = network.sockets.by_name.values()
    return [sock for sock in every if sock.type != socket.SOCK_RAW]


def send_raw(box: Box, packet: bytes) -> None:
    """Send a whole packet from a box, IP header included."""
    family = socket.AF_INET6 if packet[0] >> 4 == 6 else socket.AF_INET
    receiver = packet[24:40] if family == socket.AF_INET6 else packet[16:20]
    with box.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        raw.sendto(packet, (socket.inet_ntop(family, receiver), 0))


@contextmanager
def counting(network: GatewayNetwork) -> Iterator[Callable[[], dict[str, int]]]:
    """A function that says how far each counter has moved. Nothing may be forwarded."""
    before = network.counters()

    def moved() -> dict[str, int]:
        return {name: n - before[name] for name, n in network.counters().items()}

    yield moved
    assert moved()["forwarded"] == 0


@pytest.fixture(scope="module", name="running")
def running_fixture() -> Iterator[tuple[GatewayNetwork, list[Box]]]:
    """A network with two boxes, for all tests of a module that imports this."""
    with running_network(2) as running:
        yield running


@pytest.fixture(name="counted")
def counted_fixture(
    running: tuple[GatewayNetwork, list[Box]],
) -> Iterator[Callable[[], dict[str, int]]]:
    """How far each counter has moved in a test; nothing may be forwarded."""
    with counting(running[0]) as moved:
        yield moved
