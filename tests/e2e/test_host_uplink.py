"""Which addresses are this machine's, asked of a kernel with known ones."""

from __future__ import annotations

import select
import subprocess
import time
from collections.abc import Callable
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


@pytest.mark.parametrize("remembers", [False, True])
@pytest.mark.parametrize(
    ("change", "back"),
    [
        ("addr add {} dev lo", "addr del {} dev lo"),
        ("route add local {} dev lo table 77", "route del local {} table 77"),
    ],
)
@pytest.mark.parametrize("text", ["2001:db8:9::77", "192.0.2.77"])
def test_an_address_that_comes_and_goes_is_noticed(remembers, change, back, text):
    address = ip_address(text)
    version = f"-{address.version}"
    namespace = netns.create()
    uplink = HostUplink()
    readers: list[tuple[int, Callable[[], None]]] = []

    def settle(*, local):
        """The kernel adds the route of an IPv6 address a moment after the address."""
        for _ in range(500):
            argv = ("ip", version, "route", "get", text)
            said = subprocess.run(argv, capture_output=True, text=True, check=False)
            if said.stdout.startswith("local") is local:
                return
            time.sleep(0.01)

    def ip(line):
        with namespace.entered():
            subprocess.run(["ip", version, *line.format(text).split()], check=True)
            if text in line.format(text):
                settle(local="add" in line)
        for descriptor, changed in readers:  # As the loop of a gateway does.
            if select.select([descriptor], [], [], 0)[0]:
                changed()

    try:
        with namespace.entered():
            uplink.start()
            if remembers:
                uplink.follow_changes(lambda *reader: readers.append(reader))
        ip("link set lo up")
        ip("rule add lookup 77")
        for _ in range(2):
            assert uplink.is_host_address(address) is False
            assert uplink.is_host_address(address) is False
            ip(change)
            assert uplink.is_host_address(address) is True
            assert uplink.is_host_address(address) is True
            ip(back)
        assert uplink.is_host_address(address) is False
        assert len(readers) == remembers
    finally:
        uplink.stop()
        namespace.close()


def test_after_stop_every_address_is_ours():
    uplink = HostUplink()
    uplink.start()
    uplink.stop()
    uplink.stop()
    assert uplink.is_host_address(ip_address("203.0.113.2")) is True
