"""From a devbox to the machine it runs on: metadata, services, the gateway itself."""

from __future__ import annotations

import pytest

from tests.attacks.inside import run_inside
from tests.lab.addresses import HOST4, HOST6, HOST_EXTRA4, HOST_PRIVATE4, v4
from tests.lab.stockade import Stockade

X = v4(66)
GATEWAY4, GATEWAY6 = "100.127.0.2", "fd53:746f:636b::2"

# What answers at each of `given` (host, port): the first octets after a request, or the
# error; last of all the attacker's server, which does answer.
SCAN = f"""
import concurrent.futures
def ask(host, port):
    with socket.create_connection((host, port), timeout=1) as sock:
        sock.settimeout(1)
        sock.sendall(b"GET / HTTP/1.1\\r\\nHost: m.test\\r\\n\\r\\n")
        return sock.recv(100).decode("latin-1")
def datagram(host, port):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.settimeout(1)
        sock.connect((host, port))
        sock.send(b"secret")
        return "answer " + sock.recv(100).decode("latin-1")
targets = [tuple(item) for item in given] + [({X!r}, 8080)]
with concurrent.futures.ThreadPoolExecutor(8) as pool:
    tcp = list(pool.map(lambda t: tried(ask, *t)["said"], targets))
    udp = list(pool.map(lambda t: tried(datagram, *t)["said"], targets))
result = [[*t, a, b] for t, a, b in zip(targets, tcp, udp)]
"""

METADATA = (
    "169.254.169.254", "169.254.170.2", "100.100.100.200", "168.63.129.16",
    "192.0.0.192", "fd00:ec2::254", "fd20:ce::254",
)  # fmt: skip


def _controlled(value: list[list[object]]) -> list[list[object]]:
    """The scan without its last line, which shows that the scan sees what is there."""
    *scanned, (_, _, tcp, udp) = value
    assert str(tcp).startswith("HTTP/1.1 200")
    assert udp == "answer secret"
    return scanned


def test_metadata_services_are_out_of_reach_under_allow_all(stockade: Stockade) -> None:
    """They hand the machine's credentials to whoever asks; every cloud has one.

    The widest policy there is does not open them, by TCP or UDP, IPv4 or IPv6.
    """
    targets = [(address, port) for address in METADATA for port in (80, 443, 8080)]
    report = run_inside(stockade, SCAN, policy="all", arguments=targets)
    for _, _, tcp, udp in _controlled(report.value):
        assert not str(tcp).startswith("HTTP")
        assert not str(udp).startswith("answer")
    for address, port in targets:
        assert report.denied(address, port) == {"guardrail_metadata"}
    assert {key.address for key in report.packets} == {X}


def test_metadata_names_lead_nowhere(stockade: Stockade) -> None:
    """A name that resolves to the metadata service is the usual detour to it."""
    code = """
def get(name):
    with socket.create_connection((name, 80), timeout=2) as sock:
        sock.settimeout(2)
        sock.sendall(f"GET / HTTP/1.1\\r\\nHost: {name}\\r\\n\\r\\n".encode())
        return sock.recv(100).decode("latin-1")
result = [tried(get, name)["said"] for name in given]
"""
    names = ["metadata.test", "metadata-task.test", "a.test"]
    for policy in ("all", "metadata.test metadata-task.test a.test"):
        report = run_inside(stockade, code, policy=policy, arguments=names)
        assert report.value.pop().startswith("HTTP/1.1 200")
        assert not [said for said in report.value if said.startswith("HTTP/1.1 200")]
        assert {"metadata.test", "metadata-task.test"} == {
            flow["name"]
            for flow in report.run.flows
            if flow["reason"] == "guardrail_metadata"
        }
        assert not report.packets.keys() & {
            ("tcp", "169.254.169.254", 80),
            ("tcp", "169.254.170.2", 80),
        }


@pytest.mark.parametrize("policy", ["all", "a.test"])
def test_services_of_the_machine_are_out_of_reach(
    stockade: Stockade, policy: str
) -> None:
    """Docker, ssh, databases: the machine's own, by each address it has.

    They do run, as the lab shows from the host itself.
    """
    addresses = (HOST4, HOST6, HOST_EXTRA4, HOST_PRIVATE4)
    ports = (22, 80, 443, 2375, 5432, 6379, 8080, 9090, 161, 12345)
    targets = [(address, port) for address in addresses for port in ports]
    report = run_inside(stockade, SCAN, policy=policy, arguments=targets)
    scanned = _controlled(report.value) if policy == "all" else report.value
    for _, _, tcp, udp in scanned:
        assert not str(tcp).startswith(("HTTP/1.1 200", "SSH"))
        assert not str(udp).startswith("answer")
    assert not report.run.saw(side="host")
    for address, port in targets:
        assert report.denied(address, port) == {"guardrail_host"}
    mark = stockade.lab.mark()
    for address in addresses:
        host = f"[{address}]" if ":" in address else address
        stockade.lab.exec_host(["curl", "-s", "-m2", f"http://{host}:8080/"])
    assert len(stockade.lab.seen(since=mark, side="host", kind="http")) == 4


def test_of_the_gateway_only_its_resolver_can_be_reached(stockade: Stockade) -> None:
    """Its transparent sockets listen on every address, its own among them.

    Nothing of it answers but port 53, and the packets are refused before they reach a
    socket.
    """
    ports = (1, 22, 80, 443, 8080, 15000, *range(15001, 15054, 13), 15002, 15053)
    own = (GATEWAY4, GATEWAY6, "100.127.255.255", "100.127.0.5", "fd53:746f:636b::5")
    targets = [(address, port) for address in own for port in ports]
    report = run_inside(stockade, SCAN, policy="all", arguments=targets)
    for _, _, tcp, udp in _controlled(report.value):
        assert str(tcp).split()[0] in ("ConnectionRefusedError", "OSError")
        assert str(udp).split()[0] in ("OSError", "PermissionError")
    assert {key.address for key in report.packets} == {X}
    code = """
query = bytes.fromhex("123401000001000000000000016104746573740000010001")
def ask(host):
    with socket.socket(socket.AF_INET6 if ":" in host else 2, socket.SOCK_DGRAM) as s:
        s.settimeout(2)
        s.connect((host, 53))
        s.send(query)
        return s.recv(512)[:2].hex()
result = [tried(ask, host)["said"] for host in given]
"""
    control = run_inside(stockade, code, policy="all", arguments=[GATEWAY4, GATEWAY6])
    assert control.value == ["1234", "1234"]


def test_loopback_of_the_machine_has_no_other_spelling(stockade: Stockade) -> None:
    """0.0.0.0, mapped addresses and short forms of 127.0.0.1, sent out of eth0.

    Root inside may route 127/8 away from its own loopback; the gateway still refuses.
    """
    targets = [
        (address, port)
        for address in ("127.0.0.1", "127.9.9.9", "0.0.0.0", "0.1.2.3", "::",
                        "::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1",
                        f"::ffff:{HOST4}", f"64:ff9b::{HOST4}", "2002:7f00:1::1")
        for port in (22, 2375, 8080, 15001)
    ]  # fmt: skip
    report = run_inside(stockade, SCAN, policy="all", arguments=targets)
    for _, _, tcp, udp in _controlled(report.value):
        assert not str(tcp).startswith(("HTTP", "SSH"))
        assert not str(udp).startswith("answer")
    assert not report.run.saw(side="host")
    assert {key.address for key in report.packets} == {X}
