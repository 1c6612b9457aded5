"""Enforcement is proven by reading back, is repaired, and dies with its process."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from stockade.errors import EnforcementError
from stockade.host.network import GatewayNetwork
from stockade.host.slots import Slot
from tests.e2e.host_box import Box, accept, is_silent, listening, running_network

pytestmark = pytest.mark.root

PUBLIC = ("203.0.113.7", 443)


@pytest.fixture
def running():
    with running_network(2) as (network, boxes):
        yield network, boxes


def in_gateway(network, *argv):
    with network.netns.entered():
        subprocess.run(argv, check=True, capture_output=True)


def obstacle(network, box):
    """What keeps a connection of *box* from being delivered; None if nothing does."""
    with box.socket(socket.AF_INET, socket.SOCK_STREAM) as client:
        client.settimeout(1)
        try:
            client.connect(PUBLIC)
        except OSError as error:
            return error
        accept(network.sockets.by_name["tcp4.0"]).close()
        return None


BREAKAGES = {
    "flush ruleset": "nft flush ruleset",
    "empty chain": "nft flush chain inet stockade identity",
    "an accept in front": "nft insert rule inet stockade identity accept",
    "another table": "nft add table ip filter",
    "open policy": "nft add chain inet stockade forward { policy accept ; }",
    "extra identity": "nft add element inet stockade sources4 { sb0 . 100.127.0.5 }",
    "lost identity": "nft delete element inet stockade sources4 { sb0 . 100.127.0.3 }",
    "no delivery rule": "ip rule delete priority 100",
    "no delivery rule, v6": "ip -6 rule delete priority 100",
    "no delivery route": "ip route flush table 100",
    "another rule": "ip rule add priority 5 to 203.0.113.0/24 lookup 7",
    "default route": "ip route add default via 100.127.0.3",
    "default route, v6": "ip -6 route add default via fd53:746f:636b::3",
    "forwarding": "sysctl -qw net.ipv4.ip_forward=1",
    "forwarding, v6": "sysctl -qw net.ipv6.conf.all.forwarding=1",
    "source check": "sysctl -qw net.ipv4.conf.all.rp_filter=0",
    "another interface": "ip link add up1 up type veth peer name up2",
}


@pytest.mark.parametrize("name", BREAKAGES)
def test_a_breakage_is_noticed_and_healed(running, name):
    network, boxes = running
    assert network.verify() == []
    in_gateway(network, *BREAKAGES[name].split())
    problems = network.verify()
    assert problems
    assert all(isinstance(problem, str) and problem for problem in problems)
    network.repair()
    assert network.verify() == []
    assert [obstacle(network, box) for box in boxes] == [None, None]


LINK_BREAKAGES = {
    "down": "ip link set sb0 down",
    "renamed": "ip link set sb0 down; ip link set sb0 name odd0; ip link set odd0 up",
    "deleted": "ip link del sb0",
    "replaced": "ip link del sb0; ip link add sb0 index 1000 up type veth peer name odd0",
    "no address": "ip address flush dev sb0",
    "another address": "ip address add 100.127.0.9/32 dev sb0",
    "no neighbour": "ip neighbor del 100.127.0.3 dev sb0",
    "another hardware address": "ip link set sb0 address 02:00:00:00:00:99",
    "arp": "ip link set sb0 arp on",
    "no route": "ip route del 100.127.0.2/31 dev sb0",
    "no local route": "ip route del local 100.127.0.2 table local",
    "no local route, v6": "ip -6 route del local fd53:746f:636b::2 dev sb0 table local",
}


@pytest.mark.parametrize("name", LINK_BREAKAGES)
def test_a_broken_link_is_noticed_and_made_anew(running, name):
    """A connection of the devbox goes on over the new one."""
    network, (box, other) = running
    assert network.verify() == []
    with box.socket(socket.AF_INET, socket.SOCK_STREAM) as client:
        client.connect(PUBLIC)
        with accept(network.sockets.by_name["tcp4.0"]) as served:
            in_gateway(network, "sh", "-ec", LINK_BREAKAGES[name])
            assert network.verify()
            assert network.repair() == {}
            assert network.verify() == []
            client.sendall(b"ping")
            assert served.recv(10) == b"ping"
    assert [obstacle(network, one) for one in (box, other)] == [None, None]


def test_a_devbox_that_cannot_be_connected_again_is_lost(running):
    """Something gave it another way out meanwhile: it gets no network of ours any more."""
    network, (box, other) = running
    assert box.run("ip", "link", "add", "way1", "up", "type", "veth").returncode == 0
    in_gateway(network, "ip", "link", "del", "sb0")
    lost = network.repair()
    assert lost.keys() == {Slot(0)}
    assert "interface already: way1" in lost[Slot(0)]
    assert ": eth0@" not in box.run("ip", "-o", "link").stdout
    assert network.verify() == []
    assert obstacle(network, other) is None


def test_the_kernel_tells_of_breakages(running):
    network, _ = running
    changes = network.changes()
    try:
        for name, script in {**BREAKAGES, **LINK_BREAKAGES}.items():
            changes.drain()
            words = ["sh", "-ec", script] if name in LINK_BREAKAGES else script.split()
            in_gateway(network, *words)
            told = bool(select.select(changes.filenos(), [], [], 0.2)[0])
            assert told, name
            network.repair()
    finally:
        changes.close()


def test_without_a_ruleset_nothing_is_delivered(running):
    network, (box, _) = running
    assert obstacle(network, box) is None
    in_gateway(network, "nft", "flush", "ruleset")
    assert obstacle(network, box) is not None
    assert is_silent(*listening(network), seconds=0.05)
    network.repair()
    assert obstacle(network, box) is None


def test_a_detached_devbox_has_no_network(running):
    network, (box, other) = running
    network.detach(Slot(0))
    network.detach(Slot(0))
    assert box.run("ip", "-o", "link").stdout.count("\n") == 1
    assert network.verify() == []
    assert obstacle(network, other) is None
    network.attach(Slot(0), box.pid)
    assert obstacle(network, box) is None


def test_the_first_connection_is_answered_at_once(running):
    """`attach` returns when both ends send, not when they are merely up."""
    network, (box, _) = running
    for _ in range(10):
        network.detach(Slot(0))
        network.attach(Slot(0), box.pid)
        started = time.monotonic()
        assert obstacle(network, box) is None
        assert time.monotonic() - started < 0.9


def test_a_devbox_that_ends_leaves_nothing_to_verify(running):
    network, (box, other) = running
    box.__exit__()
    deadline = time.monotonic() + 5
    with network.netns.entered():
        while "sb0" in {name for _, name in socket.if_nameindex()}:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert network.verify() == []
    network.detach(Slot(0))
    assert network.verify() == []
    with Box() as successor:
        network.attach(Slot(0), successor.pid)
        assert obstacle(network, successor) is None
        assert obstacle(network, other) is None


def test_the_network_of_the_machine_is_never_attached(running):
    network, _ = running
    before = socket.if_nameindex()
    with pytest.raises(EnforcementError, match="no network of its own"):
        network.attach(Slot(5), os.getpid())
    with pytest.raises(EnforcementError, match="attached already"):
        network.attach(Slot(1), os.getpid())
    with pytest.raises(EnforcementError, match="no network namespace"):
        network.attach(Slot(5), 2**22 + 1)
    assert socket.if_nameindex() == before
    assert network.verify() == []


def test_a_devbox_with_another_way_out_is_refused(running):
    network, _ = running
    with Box() as box:
        done = box.run("ip", "link", "add", "way1", "up", "type", "veth")
        assert done.returncode == 0
        with pytest.raises(EnforcementError, match="interface already: way1"):
            network.attach(Slot(5), box.pid)
        assert ": eth0@" not in box.run("ip", "-o", "link").stdout
    assert network.verify() == []


def test_one_devbox_is_not_attached_twice(running):
    network, (box, _) = running
    with pytest.raises(EnforcementError, match="interface already: eth0"):
        network.attach(Slot(5), box.pid)
    assert network.verify() == []
    assert obstacle(network, box) is None


def test_stop_and_start_may_be_repeated():
    network = GatewayNetwork()
    network.stop()
    for _ in range(2):
        network.start()
        with pytest.raises(EnforcementError, match="started already"):
            network.start()
        assert network.verify() == []
        network.stop()
        network.stop()
    with pytest.raises(EnforcementError, match="not started"):
        network.counters()


HOLDER = """
import os, sys, time
from stockade.host.network import GatewayNetwork
from stockade.host.slots import Slot
network = GatewayNetwork()
network.start()
network.attach(Slot(0), int(sys.argv[1]))
print(network.netns.identity()[1], flush=True)
time.sleep(600)
"""


def holders(inode):
    """The processes that run in a network namespace or hold a descriptor of it."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        for link in (*process.glob("fd/*"), process / "ns" / "net"):
            with suppress(OSError):
                if str(link.readlink()) == f"net:[{inode}]":
                    found.add(int(process.name))
    return found


def test_a_killed_holder_leaves_nothing():
    with Box() as box:
        holder = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(box.pid)], stdout=subprocess.PIPE
        )
        assert holder.stdout is not None
        inode = int(holder.stdout.readline())
        assert "eth0" in box.run("ip", "-o", "link").stdout
        assert holders(inode) == {holder.pid}
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        holder.stdout.close()
        deadline = time.monotonic() + 5
        while "eth0" in box.run("ip", "-o", "link").stdout:
            assert time.monotonic() < deadline, "the interface outlived its holder"
            time.sleep(0.01)
        assert holders(inode) == set()
