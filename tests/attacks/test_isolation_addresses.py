"""What stays closed under the widest rules there are, in every form of its address."""

from __future__ import annotations

import json
import sys
from ipaddress import IPv4Address, IPv6Address

from tests.attacks.inside import run_inside
from tests.lab.addresses import (
    HOST4,
    HOST_EXTRA4,
    HOST_PRIVATE4,
    METADATA4,
    v4,
    v6,
)
from tests.lab.stockade import Stockade

X4, X6 = v4(66), v6(66)
WIDE = (
    *("0.0.0.0/0", "::/0", "64:ff9b::/96", "2002::/16", "2001::/32", "fc00::/7"),
    *("169.254.0.0/16", "100.64.0.0/10", "10.0.0.0/8", "198.51.100.0/30"),
)
#: Barred for whoever asks, whatever the rules say.
BARRED4 = (
    *(METADATA4, "169.254.170.2", "100.100.100.200", "168.63.129.16", "127.0.0.1"),
    *(HOST4, HOST_EXTRA4, HOST_PRIVATE4, "224.0.0.251", "240.0.0.1"),
)
#: The broadcast address of the machine's link, and what only the gateway uses.
GROUPS = ("198.51.100.3", "100.127.0.5", "255.255.255.255")
GROUPS6 = ("fd53:746f:636b::5", "ff02::1%eth0", "ff05::2", "fec0::1")


def forms(address: str) -> list[str]:
    """An IPv4 address inside IPv6 ones: NAT64, 6to4, Teredo, ISATAP, compatible."""
    number = int(IPv4Address(address))
    teredo = 0x2001_0000 << 96
    made = (
        int(IPv6Address("64:ff9b::")) | number,
        int(IPv6Address("64:ff9b:1::")) | number,
        0x2002 << 112 | number << 80 | 1,
        teredo | number << 64 | 0x1234,
        teredo | int(IPv4Address(X4)) << 64 | (number ^ 0xFFFF_FFFF),
        int(IPv6Address("fe80::5efe:0:0")) | number,
        number,
    )
    return [str(IPv6Address(value)) for value in made]


ASK = r"""
import concurrent.futures, json, socket, sys
def tcp(host, port):
    with socket.create_connection((host, port), timeout=1.5) as sock:
        sock.settimeout(1)
        sock.sendall(b"GET / HTTP/1.0\r\nHost: x\r\n\r\n")
        return sock.recv(100).decode("latin-1")
def udp(host, port):
    found = socket.getaddrinfo(host, port, 0, socket.SOCK_DGRAM)[0]
    with socket.socket(found[0], socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sock.settimeout(1)
        sock.connect(found[4])
        sock.send(b"secret")
        return sock.recv(100).decode("latin-1")
def tries(item):
    answers = []
    for how in (tcp, udp):
        try:
            answers.append(how(*item))
        except OSError as error:
            answers.append(type(error).__name__)
    return answers
with concurrent.futures.ThreadPoolExecutor(32) as pool:
    result = list(pool.map(tries, given))
"""


def test_the_widest_ranges_open_no_barred_address_in_any_form(
    stockade: Stockade,
) -> None:
    """Metadata, the machine, loopback, groups: inside NAT64, 6to4, Teredo, ISATAP.

    Under `allow_all`, and under rules that name these very ranges. From the machine
    itself packets to such addresses do go out, and are seen.
    """
    barred = [*BARRED4, *GROUPS, *GROUPS6]
    barred += [form for address in BARRED4 for form in forms(address)]
    targets = [(address, 8080) for address in (*barred, X4, X6)]
    ranges = {"name": "wide", "allowed_cidrs": [{"cidr": cidr} for cidr in WIDE]}
    for policy in ("all", ranges):
        report = run_inside(stockade, ASK, policy=policy, arguments=targets)
        *denied, control4, control6 = report.value
        assert control4[0].startswith("HTTP/1.1 200"), control4
        assert [control4[1], control6[1]] == ["secret", "secret"]
        assert not [a for pair in denied for a in pair if a.startswith(("HTTP", "sec"))]
        assert {key.address for key in report.packets} == {X4, X6}
        assert not report.run.saw(side="host")
        assert {reason.partition("_")[0] for reason in report.reasons} == {"guardrail"}
    before = stockade.lab.packets()
    code = f"given = {json.dumps(targets)}\n{ASK}"
    done = stockade.lab.exec_host([sys.executable, "-c", code], timeout=60)
    assert done.returncode == 0, done.stderr
    escaped = {key.address for key in stockade.lab.packets() - before}
    seen = [address for address in barred if address in escaped]
    assert len(seen) > 40, escaped


PORTS = [base + 100 * lane for lane in range(17) for base in (15001, 15002, 15053)]


def test_the_ports_of_the_gateway_are_ordinary_elsewhere(stockade: Stockade) -> None:
    """The ports on which its lanes listen: at its own addresses nothing answers.

    At another address they are ports like any other, and belong to that address.
    """
    own = ("100.127.0.2", "fd53:746f:636b::2", "100.127.0.3", "fd53:746f:636b::3")
    targets = [(address, port) for address in own for port in PORTS]
    elsewhere = [(address, port) for address in (X4, X6) for port in PORTS[:9]]
    report = run_inside(stockade, ASK, policy="all", arguments=[*targets, *elsewhere])
    answers = report.value
    assert not [
        answer
        for pair in answers[: len(targets)]
        for answer in pair
        if not answer.endswith("Error")
    ]
    for tcp, udp in answers[len(targets) :]:
        assert tcp.startswith("HTTP/1.1 200")
        assert udp == "secret"
    assert {(key.address, key.port) for key in report.packets} == set(elsewhere)
