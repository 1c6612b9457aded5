"""What is neither TCP nor UDP, and IPv6 by paths of its own."""

from __future__ import annotations

from tests.attacks.inside import run_inside
from tests.lab.addresses import v4, v6
from tests.lab.stockade import Stockade
from tests.lab.witness import matching

X4, X6 = v4(66), v6(66)
CONNECTED = """
result = tried(lambda: socket.create_connection((given, 7777), 3).close())
"""
ANY_RAW = """
def raw(family, kind, protocol):
    with socket.socket(family, kind, protocol) as sock:
        sock.sendto(b"secret", (given[family == 10], 0))
        return "sent"
"""


def test_raw_packets_of_any_protocol_are_refused(stockade: Stockade) -> None:
    """Root inside would write GRE, ESP, SCTP or its own protocol past any port rule.

    The sockets themselves are refused, so nothing has to be filtered; under allow-all
    just the same.
    """
    code = f"""{ANY_RAW}
numbers = [1, 2, 4, 41, 47, 50, 58, 132, 253, 255]
result = [tried(raw, f, socket.SOCK_RAW, n) for f in (2, 10) for n in numbers]
result += [tried(raw, f, socket.SOCK_STREAM, 132) for f in (2, 10)]
result += [tried(raw, f, socket.SOCK_SEQPACKET, 132) for f in (2, 10)]
"""
    for policy in ("a.test", "all"):
        report = run_inside(stockade, code, policy=policy, arguments=[X4, X6])
        assert {answer["said"].split()[0] for answer in report.value} <= {
            "PermissionError",
            "OSError",
        }
        assert max(answer["seconds"] for answer in report.value) < 0.5
        assert sum(report.packets.values()) == 0


def test_no_ping_leaves_and_the_answer_is_prompt(stockade: Stockade) -> None:
    """An echo request carries any payload; ping sockets need no privilege at all.

    Nothing but TCP and UDP leaves, allow-all included: TCP to the same host does.
    """
    code = """
def ping(family, protocol, host):
    with socket.socket(family, socket.SOCK_DGRAM, protocol) as sock:
        sock.settimeout(3)
        sock.connect((host, 0))
        sock.send(bytes([8 if family == 2 else 128, 0, 0, 0, 0, 1, 0, 1]) + b"secret")
        return sock.recv(100).hex()
for path in ("/proc/sys/net/ipv4/ping_group_range",):
    tried(lambda: open(path, "w").write("0 0"))
result = [tried(ping, 2, 1, given[0]), tried(ping, 10, 58, given[1]),
          tried(lambda: socket.create_connection((given[0], 7777), 3).close())]
"""
    report = run_inside(stockade, code, policy="all", arguments=[X4, X6])
    *pings, tcp = report.value
    for answer in pings:
        assert answer["said"].split()[0] in ("OSError", "PermissionError")
        assert answer["seconds"] < 0.5
    assert tcp["said"] is None
    assert {key.protocol for key in report.packets} == {"tcp"}


def test_fragments_are_judged_as_the_datagram_they_make(stockade: Stockade) -> None:
    """Fragments are what a devbox can make of a datagram without raw sockets.

    They are put together before they are judged: a denied one does not get out in
    pieces, an allowed one arrives whole.
    """
    code = """
def send(host):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(3)
        sock.connect((host, 9000))
        sock.send(b"x" * 20_000)
        return len(sock.recv(65_535))
result = tried(send, given)
"""
    denied = run_inside(stockade, code, policy="a.test", arguments=X4)
    assert denied.value["said"].split()[0] == "OSError"
    assert sum(denied.packets.values()) == 0
    assert denied.denied(X4, 9000) == {"address_not_allowed"}
    control = run_inside(stockade, code, policy="all", arguments=X4)
    assert control.value["said"] == 20_000


def test_ipv6_is_judged_as_ipv4_is(stockade: Stockade) -> None:
    """A host with IPv6 is the classic way around a filter that knows IPv4 only."""
    denied = run_inside(stockade, CONNECTED, policy="a.test", arguments=X6)
    # Accepted by the gateway, which then hears nothing it could judge.
    assert sum(denied.packets.values()) == 0
    assert denied.denied(X6, 7777) & {"address_not_allowed", "no_client_data"}
    control = run_inside(stockade, CONNECTED, policy="all", arguments=X6)
    assert control.value["said"] is None
    assert matching(control.packets, address=X6, port=7777)


def test_link_local_addresses_lead_nowhere(stockade: Stockade) -> None:
    """The gateway's end of the link has a link-local address, and so may its services.

    Every port the gateway and the host listen on is tried through it.
    """
    code = """
def connect(host, port):
    address = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)[0][4]
    with socket.socket(socket.AF_INET6) as sock:
        sock.settimeout(0.5)
        sock.connect(address)
        return "connected"
hosts = ["fe80::1%eth0", "fe80::53:6bff:fe00:0%eth0", "fe80::fc:ff:fe00:0%eth0"]
ports = (22, 53, 80, 2375, 15001, 15002, 15053)
result = [tried(connect, host, port) for host in hosts for port in ports]
result.append(tried(connect, given, 7777))
"""
    report = run_inside(stockade, code, policy="all", arguments=X6)
    assert report.value.pop()["said"] == "connected"
    assert "connected" not in [answer["said"] for answer in report.value]
    assert {key.address for key in report.packets} == {X6}
    assert not report.run.saw(side="host")
