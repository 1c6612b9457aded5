"""Which addresses are this machine's, asked of a kernel with known ones."""

from __future__ import annotations

import subprocess
from ipaddress import ip_address

import pytest

from stockade.host import netns
from stockade.host.uplink import HostUplink

pytestmark = pytest.mark.root

SETUP = (
    "link set lo up",
    "link add up0 up type veth peer name up1",
    "link set up1 up",
    "addr add 203.0.113.1/24 dev up0",
    "addr add 2001:db8:9::1/64 dev up0 nodad",
    "addr add 198.51.100.7/32 dev lo",
    "route add default via 203.0.113.254",
    "route add unreachable 192.0.2.0/24",
    "-6 route add default via 2001:db8:9::fe",
)
OURS = (
    "127.0.0.1 127.255.0.1 0.0.0.0 203.0.113.1 203.0.113.255 198.51.100.7"
    " 224.0.0.1 255.255.255.255 ::1 :: 2001:db8:9::1 ff02::1 ::ffff:203.0.113.1"
).split()
OTHERS = "203.0.113.2 198.51.100.8 192.0.2.1 2001:db8:9::2 2001:db8:8::1".split()


@pytest.fixture(scope="module")
def facts():
    namespace = netns.create()
    uplink = HostUplink()
    with namespace.entered():
        for line in SETUP:
            subprocess.run(["ip", *line.split()], check=True)
        uplink.start()
    # The socket stays in its namespace: the calls may come from anywhere.
    yield uplink
    uplink.stop()
    namespace.close()


@pytest.mark.parametrize("address", OURS)
def test_the_machine_knows_its_own(facts, address):
    assert facts.is_host_address(ip_address(address)) is True


@pytest.mark.parametrize("address", OTHERS)
def test_the_machine_knows_others(facts, address):
    assert facts.is_host_address(ip_address(address)) is False


def test_a_machine_without_a_route_says_so():
    namespace = netns.create()
    uplink = HostUplink()
    with namespace.entered():
        uplink.start()
    try:
        assert uplink.is_host_address(ip_address("203.0.113.2")) is False
    finally:
        uplink.stop()
        namespace.close()


def test_an_address_that_comes_is_noticed():
    address = ip_address("2001:db8:9::77")
    namespace = netns.create()
    uplink = HostUplink()
    try:
        with namespace.entered():
            uplink.start()
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
            argv = ["ip", "addr", "add", str(address), "dev", "lo"]
            assert uplink.is_host_address(address) is False
            subprocess.run(argv, check=True)
        assert uplink.is_host_address(address) is True
    finally:
        uplink.stop()
        namespace.close()


def test_after_stop_every_address_is_ours():
    uplink = HostUplink()
    uplink.start()
    uplink.stop()
    uplink.stop()
    assert uplink.is_host_address(ip_address("203.0.113.2")) is True
