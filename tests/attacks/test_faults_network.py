"""Something outside breaks the network between a devbox and the gateway.

Nothing gets around the gateway meanwhile, the neighbour does not notice unless it was hit
too, and what was broken is made anew by itself; connections live through it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.attacks.agents import Agent, policy, running_agent
from tests.attacks.namespaces import ask, tamper
from tests.attacks.processes import wait_until
from tests.attacks.seats import Seat
from tests.lab import Lab
from tests.lab.addresses import HOST4, v4, v6

#: Machines are busy at times; users expect less than a second.
SOON = 5.0
X = (v4(69), v6(69))  # The attacker of this file.
REQUEST = b"GET /hello HTTP/1.1\r\nHost: a.test\r\n\r\n"
SHUT = "nft delete element inet stockade sources4 '{ sb0 . 100.127.0.3 }'"
FIND = '/chain /{c=$2} /l4proto tcp tproxy/{print c, "handle", $NF; exit}'

ONE = {
    "taken down": "ip link set sb0 down",
    "renamed": "ip link set sb0 down; ip link set sb0 name odd0; ip link set odd0 up",
    "deleted": "ip link del sb0",
    "without its address": "ip address flush dev sb0",
    "without its neighbour": "ip neighbor del 100.127.0.3 dev sb0",
    "without its route": "ip route del 100.127.0.2/31 dev sb0",
    "shut out": SHUT,
}
BOTH = {
    "no ruleset": "nft flush ruleset",
    "one rule less": "nft delete rule inet stockade "
    f"$(nft -a list table inet stockade | awk '{FIND}')",
    "a rule that drops all": "nft insert rule inet stockade identity drop",
    "no way to the sockets": "ip rule del fwmark 1; ip -6 rule del fwmark 1",
    "no routes": "ip route flush table main; ip route flush table 100",
    "lo taken down": "ip link set lo down",
    "settings": "sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.ip_forward=1 "
    "net.ipv4.conf.all.accept_local=1 net.ipv6.conf.all.forwarding=1",
}


@pytest.fixture(scope="module")
def agent(lab: Lab, default_image: None) -> Iterator[Agent]:
    with running_agent(lab) as started:
        yield started


@pytest.fixture(scope="module")
def seats(agent: Agent) -> tuple[Seat, Seat]:
    """The devboxes on the slots 0 and 1."""
    pair = (Seat(agent, "one", policy("a.test")), Seat(agent, "two", policy("a.test")))
    assert [seat.told["slot"] for seat in pair] == [0, 1]
    return pair


def attack(seat: Seat) -> None:
    """Try to get to the attacker, and to the machine, by what way there is."""
    for host in (*X, HOST4):
        seat.do(do="connect", **{"as": "x"}, host=host, port=80, patience=0.05)
        seat.do(do="connect", **{"as": "y"}, host=host, port=9999, udp=True)
        seat.send("y", b"leak")


def is_served(seat: Seat) -> bool:
    """Whether a new connection is answered."""
    step = {"do": "connect", "as": "c", "host": v4(10), "port": 80}
    if "error" in seat.do(**step, patience=0.3):
        return False
    seat.send("c", REQUEST)
    return b"hello" in seat.recv("c", b"hello", patience=0.5)


@pytest.mark.parametrize(
    ("script", "alone"),
    [
        *(pytest.param(script, True, id=name) for name, script in ONE.items()),
        *(pytest.param(script, False, id=name) for name, script in BOTH.items()),
    ],
)
def test_what_is_broken_is_made_anew(
    lab: Lab, agent: Agent, seats: tuple[Seat, Seat], script: str, alone: bool
) -> None:
    one, two = seats
    for seat in seats:
        seat.open("idle", seat.resolve("a.test"), 7000)
        seat.asks("idle", b"hello\n", b"hello")
    before, warned = lab.packets(), agent.said().count("was changed")
    mark = lab.mark()
    started = time.monotonic()
    tamper(agent.pid, script)
    attack(one)
    if alone:
        assert is_served(two)
    wait_until(lambda: agent.said().count("was changed") > warned, "a warning", SOON)
    while not (is_served(one) and is_served(two)):
        attack(one)
        assert time.monotonic() - started < SOON
    print(f"served again after {time.monotonic() - started:.2f} s")
    for seat in seats:
        assert seat.echoes("idle", b"still\n")
    counted = lab.packets() - before
    assert not [key for key in counted if key.address in X]
    assert not [entry for entry in lab.since(mark) if entry.side == "host"]


def test_an_interface_that_was_moved_leads_nowhere(
    lab: Lab, agent: Agent, seats: tuple[Seat, Seat]
) -> None:
    """The gateway's end turns up in the machine's own namespace, and is up there.

    The machine does not become the devbox's gateway: the pair is taken away where it is,
    and made anew.
    """
    one, two = seats
    mark = lab.mark()
    tamper(agent.pid, f"ip link set sb0 netns {lab.host}")
    lab.exec_host(["ip", "link", "set", "sb0", "up"])
    lab.exec_host(["ip", "address", "add", "100.127.0.2/31", "dev", "sb0"])
    attack(one)
    started = time.monotonic()
    while not is_served(one):
        assert time.monotonic() - started < SOON
    assert is_served(two)
    assert "sb0" not in lab.exec_host(["ip", "-o", "link"]).stdout
    assert not [e for e in lab.since(mark) if e.address in X or e.side == "host"]


def test_one_setting_of_an_interface_opens_nothing(
    lab: Lab, agent: Agent, seats: tuple[Seat, Seat]
) -> None:
    """Settings of a single interface are not read back: nothing depends on them."""
    keys = " ".join(
        f"net.ipv{version}.conf.sb0.{key}=1"
        for version, key in (
            *((4, key) for key in ("forwarding", "accept_local", "route_localnet")),
            *((4, key) for key in ("proxy_arp", "accept_source_route")),
            *((6, key) for key in ("forwarding", "proxy_ndp", "accept_ra")),
        )
    )
    tamper(agent.pid, f"sysctl -qw {keys}")
    before, mark = lab.packets(), lab.mark()
    attack(seats[0])
    for host in ("127.0.0.1", "100.127.0.5", "100.127.0.4"):
        step = {"do": "connect", "as": "x", "host": host, "port": 15001}
        seats[0].do(**step, patience=0.2)
    assert not [key for key in lab.packets() - before if key.address in X]
    assert not [entry for entry in lab.since(mark) if entry.side == "host"]
    assert is_served(seats[0])
    tamper(agent.pid, "ip link del sb0")  # The next one has the settings as they are.
    wait_until(lambda: is_served(seats[0]), "a new interface", SOON)
    key = "net.ipv4.conf.sb0.route_localnet"
    assert ask(agent.pid, f"sysctl -n {key}").strip() == "0"


def test_a_devbox_that_cannot_be_connected_again_is_ended(
    lab: Lab, agent: Agent, seats: tuple[Seat, Seat]
) -> None:
    """It has another way out, which nobody polices: it does not go on, and others do."""
    doomed = Seat(agent, "three", policy("a.test"))
    pid, slot = doomed.told["pid"], doomed.told["slot"]
    another = f"nsenter -t {pid} -n ip link add way1 up type veth peer name way2"
    tamper(agent.pid, f"{another}; ip link del sb{slot}")
    assert agent.call("wait", name="three")["status"] == 137
    assert f"the devbox on sb{slot} is ended" in agent.said()
    assert is_served(seats[0])
    agent.call("remove", name="three")
