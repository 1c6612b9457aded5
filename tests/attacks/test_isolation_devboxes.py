"""From one devbox to another, and in the name of another."""

from __future__ import annotations

import json
import subprocess
import time

import pytest

from tests.attacks.agents import policy, running_agent
from tests.attacks.processes import wait_until
from tests.lab import Lab
from tests.lab.addresses import v4
from tests.lab.witness import matching

X = v4(66)

SERVE = """
import socket, threading, time
def serve(family, kind):
    sock = socket.socket(family, kind)
    if family == 10:
        sock.setsockopt(41, 26, 1)
    sock.bind(("::" if family == 10 else "0.0.0.0", 7777))
    if kind == socket.SOCK_STREAM:
        sock.listen()
    print("up", flush=True)
    while True:
        said = sock.accept()[1] if kind == socket.SOCK_STREAM else sock.recvfrom(99)[1]
        print("heard", said, flush=True)
for family in (2, 10):
    for kind in (1, 2):
        threading.Thread(target=serve, args=(family, kind)).start()
with socket.create_connection(("127.0.0.1", 7777)):
    time.sleep(60)
"""

KNOCK = """
import json, socket
def knock(host, kind, port):
    with socket.socket(10 if ":" in host else 2, kind) as sock:
        sock.settimeout(1)
        sock.connect((host, port))
        sock.sendall(b"secret\\n")
        return sock.recv(100).decode()
def tried(*arguments):
    try:
        return knock(*arguments)
    except OSError as error:
        return type(error).__name__
print(json.dumps([tried(host, kind, 7777) for host in HOSTS for kind in (1, 2)]))
"""


@pytest.mark.parametrize("allow", [True, False], ids=["allow_all", "a rule for it"])
def test_devboxes_behind_one_gateway_do_not_reach_each_other(
    lab: Lab, default_image: None, *, allow: bool
) -> None:
    """By address, IPv4 or IPv6, TCP or UDP, or by the gateway's: the widest policy.

    The listener does hear what comes from its own devbox, and the one that knocks
    reaches a server outside.
    """
    wide = policy(
        allow_all=allow,
        allowed_cidrs=[{"cidr": "0.0.0.0/0"}, {"cidr": "::/0"}, {"cidr": "fd00::/8"},
                       {"cidr": "100.64.0.0/10"}],
    )  # fmt: skip
    with running_agent(lab) as agent:
        one = agent.call("start", name="one", code=SERVE, policy=wide)
        wait_until(lambda: "heard" in agent.output("one"), "a listener")
        hosts = [one["address4"], one["address6"], one["gateway4"], X]
        knock = f"HOSTS = {hosts!r}\n{KNOCK}"
        agent.call("start", name="two", code=knock, policy=wide)
        assert agent.call("wait", name="two")["status"] == 0
        *inside, tcp, udp = json.loads(agent.output("two"))
        assert tcp == udp == "secret\n"
        assert set(inside) <= {"ConnectionRefusedError", "OSError", "PermissionError"}
        heard = [x for x in agent.output("one").splitlines() if x.startswith("heard")]
        assert len(heard) == 1
        assert "127.0.0.1" in heard[0]


# Run by root of the machine inside a devbox's network namespace, which is more than
# root of the devbox can do.
FORGE = """
import socket, struct, sys
source, target, own, spoof_arp = sys.argv[1:]
def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
def packet(saddr):
    udp = struct.pack("!HHHH", 4000, 9999, 8 + 6, 0) + b"forged"
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0,
                       socket.inet_aton(saddr), socket.inet_aton(target))
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + udp
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
for saddr in (source, "203.0.113.10", "127.0.0.1", "100.127.0.2"):
    for _ in range(10):
        try:
            raw.sendto(packet(saddr), (target, 0))
        except OSError:
            pass
raw.sendto(packet(own), (target, 0))
advert = socket.socket(socket.AF_INET6, socket.SOCK_RAW, 58)
advert.setsockopt(41, 18, 255)
body = bytes([134, 0, 0, 0, 64, 0, 7, 8]) + bytes(8)
advert.sendto(body + bytes([3, 4, 64, 192]) + b"\\xff" * 8 + bytes(4)
              + socket.inet_pton(10, "2001:db8:bad::"), ("ff02::1%eth0", 0))
if spoof_arp:
    link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    link.bind(("eth0", 0))
    mac = link.getsockname()[4]
    for claimed in (source, "100.127.0.2", "203.0.113.10"):
        link.send(b"\\xff" * 6 + mac + bytes.fromhex("08060001080006040001") + mac
                  + socket.inet_aton(claimed) + b"\\0" * 6 + socket.inet_aton(target))
"""
SLEEP = "import time; time.sleep(60)"


def test_a_forged_source_is_dropped_and_counted(lab: Lab, default_image: None) -> None:
    """A packet with another devbox's source would be judged by that one's policy.

    One devbox may reach the attacker's server; the other may not, and forges its source
    and more. What the first one sends does arrive.
    """
    rule = {"cidr": f"{X}/32", "ports": []}
    with running_agent(lab) as agent:
        allowed = policy(allowed_cidrs=[rule])
        one = agent.call("start", name="one", code=SLEEP, policy=allowed)
        two = agent.call("start", name="two", code=SLEEP, policy=policy("a.test"))
        before, counted = lab.packets(), agent.call("counters")
        forge(two["pid"], one["address4"], two["address4"])
        wait_until(
            lambda: agent.call("counters")["spoofed"] - counted["spoofed"] >= 40,
            "count of forged packets",
        )
        time.sleep(0.1)
        assert sum((lab.packets() - before).values()) == 0
        denied = [flow for flow in agent.flows() if flow["port"] == 9999]
        assert {flow["reason"] for flow in denied} == {"address_not_allowed"}
        routes = inside(one["pid"], "ip", "-6", "route", "show", "default")
        assert "2001:db8:bad" not in routes
        forge(one["pid"], two["address4"], one["address4"])
        lab.wait_for(lambda entry: entry.address == X and entry.data == b"forged")
        assert matching(lab.packets() - before, address=X, protocol="udp") == 1


def inside(pid: int, *command: str) -> str:
    """Run a command of the machine in the network namespace of *pid*."""
    entered = ("nsenter", f"--net=/proc/{pid}/ns/net", *command)
    return subprocess.run(entered, check=True, capture_output=True, text=True).stdout


def forge(pid: int, source: str, own: str) -> None:
    """Send forged packets from the devbox of *pid*, and one that is not."""
    inside(pid, "python3", "-c", FORGE, source, X, own, "arp")
