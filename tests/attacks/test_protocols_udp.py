"""Datagrams: QUIC, tunnels and whatever else is not TCP with a name in it."""

from __future__ import annotations

import pytest

from tests.attacks.inside import run_inside
from tests.lab.addresses import v4, v6
from tests.lab.stockade import Stockade

X = (v4(66), v6(66))
PROMPT = 0.5

# One datagram to each of `given`; what came back: an echo, or the error.
SEND = """
def send(host, port):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.settimeout(3)
        sock.connect((host, port))
        sock.send(b"secret")
        return sock.recv(100).decode()
def ask(name, port, family):
    address = socket.getaddrinfo(name, port, family, socket.SOCK_DGRAM)[0][4]
    return send(address[0], port)
result = [tried(ask, *item) if len(item) == 3 else tried(send, *item) for item in given]
"""


def test_quic_is_refused_at_once_and_nothing_of_it_is_sent(stockade: Stockade) -> None:
    """QUIC hides the name inside encrypted datagrams, so it cannot be judged.

    Clients fall back to TCP when an ICMP error comes at once; silence costs seconds.
    """
    targets = [("a.test", 443, 2), ("a.test", 443, 10), ("d.test", 443, 2)]
    denied = run_inside(stockade, SEND, policy="a.test", arguments=targets)
    for answer in denied.value:
        assert answer["said"].split()[0] in ("OSError", "PermissionError")
        assert answer["seconds"] < PROMPT
    assert not denied.run.saw(kind="udp")
    udp = [flow for flow in denied.run.flows if flow["kind"] == "udp"]
    assert {(flow["name"], flow["reason"]) for flow in udp} == {
        ("a.test", "quic"),
        ("d.test", "hostname_not_allowed"),
    }
    control = run_inside(stockade, SEND, policy="all", arguments=targets)
    assert [answer["said"] for answer in control.value] == ["secret"] * 3
    assert len(control.run.saw(kind="udp", port=443)) == 3


PORTS = (1, 80, 123, 443, 500, 784, 853, 1900, 3478, 5353, 8853, 51820, 65535)


@pytest.mark.parametrize("address", X, ids=["IPv4", "IPv6"])
def test_no_datagram_reaches_an_address_by_any_port(
    stockade: Stockade, address: str
) -> None:
    """Time, STUN, WireGuard, DNS over QUIC: every port of the attacker's server.

    A rule for the address opens them, which shows that the probe itself works.
    """
    targets = [(address, port) for port in PORTS]
    denied = run_inside(stockade, SEND, policy="a.test", arguments=targets)
    assert sum(denied.packets.values()) == 0
    for answer, port in zip(denied.value, PORTS, strict=True):
        assert answer["said"].split()[0] in ("OSError", "PermissionError")
        assert answer["seconds"] < PROMPT
        assert denied.denied(address, port) == {"address_not_allowed"}
    rule = {"cidr": f"{address}/{128 if ':' in address else 32}", "ports": []}
    policy = {"name": "open", "allowed_cidrs": [rule]}
    control = run_inside(stockade, SEND, policy=policy, arguments=targets)
    assert [answer["said"] for answer in control.value] == ["secret"] * len(PORTS)
    assert {entry.port for entry in control.run.saw(kind="udp")} == set(PORTS)


def test_group_and_broadcast_datagrams_end_at_the_devbox(stockade: Stockade) -> None:
    """mDNS, SSDP and the like reach the neighbours of a careless sandbox.

    Here nobody hears them, under no policy whatever.
    """
    code = """
groups = ["224.0.0.251", "239.255.255.250", "255.255.255.255", "ff02::fb%eth0"]
def shout(host, port):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sock.settimeout(0.2)
        sock.sendto(b"secret", socket.getaddrinfo(host, port, family)[0][4])
        return sock.recv(100).decode()
result = [tried(shout, host, port) for host in groups for port in (5353, 1900, 137)]
result.append(tried(shout, given, 5353))
"""
    report = run_inside(stockade, code, policy="all", arguments=v4(66))
    assert report.value.pop()["said"] == "secret"
    assert "secret" not in [answer["said"] for answer in report.value]
    assert {key.address for key in report.packets} == {v4(66)}
