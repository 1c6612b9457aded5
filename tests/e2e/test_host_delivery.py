"""Whatever a devbox sends by TCP or UDP arrives at a gateway socket, and nowhere else.

The control of every refusal in `test_host_refusal`.
"""

from __future__ import annotations

import socket

import pytest

from stockade.host.slots import Slot
from tests.e2e.host_box import accept, family_of, is_silent, receive, running_network

pytestmark = pytest.mark.root

SLOT = Slot(0)
PUBLIC = ("203.0.113.7", "2001:db8:7::7")
PORTS = (1, 22, 80, 443, 5432, 15001, 15002, 15053, 65535)


@pytest.fixture(scope="module")
def running():
    with running_network(1) as (network, boxes):
        yield network.sockets, boxes[0]


def own(address):
    return str(SLOT.devbox6 if ":" in address else SLOT.devbox4)


def by_family(sockets, name, address):
    return sockets.by_name[name + ("6.0" if ":" in address else "4.0")]


@pytest.mark.parametrize("address", [*PUBLIC, "100.126.0.1", "169.254.169.254"])
@pytest.mark.parametrize("port", PORTS)
def test_tcp_on_any_port_keeps_its_destination(running, address, port):
    sockets, box = running
    with box.socket(family_of(address), socket.SOCK_STREAM) as client:
        client.connect((address, port))
        with accept(by_family(sockets, "tcp", address)) as connection:
            assert connection.getsockname()[:2] == (address, port)
            assert connection.getpeername()[:2] == (
                own(address),
                client.getsockname()[1],
            )
            connection.sendall(b"from the gateway")
            assert client.recv(100) == b"from the gateway"


@pytest.mark.parametrize("address", [*PUBLIC, "100.126.0.1", "169.254.169.254"])
@pytest.mark.parametrize("port", PORTS)
def test_udp_on_any_port_keeps_its_destination(running, address, port):
    sockets, box = running
    with box.socket(family_of(address), socket.SOCK_DGRAM) as client:
        client.sendto(b"hello", (address, port))
        datagram = receive(by_family(sockets, "udp", address))
        assert datagram.data == b"hello"
        assert datagram.destination == (address, port)
        assert datagram.source == (own(address), client.getsockname()[1])


@pytest.mark.parametrize("address", PUBLIC)
@pytest.mark.parametrize("size", [4_000, 60_000])
def test_a_datagram_in_fragments_arrives_whole(running, address, size):
    sockets, box = running
    with box.socket(family_of(address), socket.SOCK_DGRAM) as client:
        client.sendto(b"x" * size, (address, 9999))
        datagram = receive(by_family(sockets, "udp", address))
        assert datagram.data == b"x" * size
        assert datagram.destination == (address, 9999)


@pytest.mark.parametrize("address", [str(SLOT.gateway4), str(SLOT.gateway6)])
def test_questions_to_the_own_gateway_reach_the_plain_socket(running, address):
    sockets, box = running
    with box.socket(family_of(address), socket.SOCK_DGRAM) as client:
        client.connect((address, 53))
        client.send(b"question")
        plain = by_family(sockets, "dns", address)
        assert not is_silent(plain, seconds=5)
        data, source = plain.recvfrom(512)
        assert (data, source[0]) == (b"question", own(address))
        plain.sendto(b"answer", source)
        # A connected socket takes the answer from the address it asked only.
        assert client.recv(512) == b"answer"


# Also those that are nobody's to ask: the gateway answers for them.
@pytest.mark.parametrize(
    "address",
    [*PUBLIC, "8.8.8.8", "100.127.0.4", "100.127.0.5", "fd53:746f:636b::5"],
)
def test_questions_to_any_address_reach_the_gateway(running, address):
    sockets, box = running
    with box.socket(family_of(address), socket.SOCK_DGRAM) as client:
        client.sendto(b"question", (address, 53))
        datagram = receive(by_family(sockets, "dnsx", address))
        assert (datagram.data, datagram.destination) == (b"question", (address, 53))
        assert is_silent(by_family(sockets, "dns", address), seconds=0.05)


@pytest.mark.parametrize(
    "address", [*PUBLIC, str(SLOT.gateway4), str(SLOT.gateway6), "100.127.0.5"]
)
def test_dns_over_tcp_reaches_the_gateway(running, address):
    sockets, box = running
    with box.socket(family_of(address), socket.SOCK_STREAM) as client:
        client.connect((address, 53))
        with accept(by_family(sockets, "dnstcp", address)) as connection:
            assert connection.getsockname()[:2] == (address, 53)


def test_the_devbox_is_set_up_without_any_packet(running):
    _, box = running
    neighbours = box.run("ip", "neigh", "show", "dev", "eth0").stdout.splitlines()
    assert len(neighbours) == 2
    assert all(line.split()[-1] == "PERMANENT" for line in neighbours)
    addresses = box.run("ip", "-o", "address", "show", "dev", "eth0").stdout
    assert "100.127.0.3/31" in addresses
    assert "fd53:746f:636b::3/127" in addresses
    assert "fe80" not in addresses
    assert "default via 100.127.0.2 dev eth0" in box.run("ip", "route").stdout
    routes6 = box.run("ip", "-6", "route").stdout
    assert "default via fd53:746f:636b::2 dev eth0" in routes6
    assert "UP" in box.run("ip", "-o", "link", "show", "dev", "lo").stdout
