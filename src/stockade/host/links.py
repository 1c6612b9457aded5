"""Interfaces, addresses, routes and neighbours, by pyroute2.

pyroute2 is imported inside the functions: its import takes 0.15 s, its package file
imports all of it, and most commands never attach a devbox.
"""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from stockade.errors import EnforcementError
from stockade.host.netns import Netns
from stockade.host.slots import DEVBOX_INTERFACE, Slot

#: The index of lo, in every namespace.
LOOPBACK = 1
IFF_UP = 1
# Duplicate address detection would make an address unusable for a second or two, and
# there is nobody else on the link (linux/if_addr.h).
_IFA_F_NODAD = 0x02
# What most networks carry. 65535 makes the link itself faster for one TCP stream (21 to 31
# Gbit/s), but not the way through the gateway, and would let datagrams pass here that
# break further on.
_MTU = 1500
_NO_QUEUE_YET = "noop"
_SENDING_TIMEOUT = 5.0


@contextmanager
def rtnetlink(netns: Netns) -> Iterator[Any]:
    """A pyroute2 `IPRoute` that works on *netns*, whichever namespace the thread is in.

    Whatever the kernel refuses becomes an `EnforcementError`.
    """
    from pyroute2 import IPRoute, NetlinkError

    try:
        with netns.entered():
            channel = IPRoute()
        with channel:
            yield channel
    except (NetlinkError, OSError) as error:
        raise EnforcementError(
            f"the kernel refused a network change: {error}"
        ) from error


@contextmanager
def ignoring(code: int) -> Iterator[None]:
    """Pass over the kernel's error *code*: what was asked for is so already."""
    from pyroute2 import NetlinkError

    try:
        yield
    except NetlinkError as error:
        if error.code != code:
            raise


def connect(gateway: Netns, devbox: Netns, slot: Slot) -> None:
    """Make the veth pair of *slot*, each end in its namespace, and bring it up."""
    with rtnetlink(gateway) as ip, rtnetlink(devbox) as box:
        _refuse_other_ways(box)
        ip.link(
            "add",
            kind="veth",
            index=slot.interface_index,
            ifname=slot.interface,
            address=slot.gateway_mac,
            mtu=_MTU,
            peer={
                "ifname": DEVBOX_INTERFACE,
                "address": slot.devbox_mac,
                "mtu": _MTU,
                "net_ns_fd": devbox.fd,
            },
        )
        _configure_gateway(ip, slot)
        _configure_devbox(box, slot)
        _wait_until_sending(ip, slot)


def disconnect(gateway: Netns, slot: Slot) -> None:
    """Remove the veth pair of *slot*, if it is there: it goes with the devbox, too."""
    with rtnetlink(gateway) as ip, ignoring(errno.ENODEV):
        ip.link("del", index=slot.interface_index)


def _refuse_other_ways(box: Any) -> None:
    """Raise if the devbox has another way out already: nothing would police that."""
    for link in box.get_links():
        if link["index"] != LOOPBACK and link["flags"] & IFF_UP:
            raise EnforcementError(
                f"the devbox has a network interface already: {link.get('ifname')}"
            )


def _configure_gateway(ip: Any, slot: Slot) -> None:
    index = slot.interface_index
    ip.addr("add", index=index, address=str(slot.gateway4), prefixlen=31)
    _add_address6(ip, index, str(slot.gateway6))
    # Without ARP the kernel ignores what the devbox says of its hardware address.
    ip.link("set", index=index, state="up", arp=False)
    _add_neighbours(ip, index, (slot.devbox4, slot.devbox6), slot.devbox_mac)


def _configure_devbox(ip: Any, slot: Slot) -> None:
    index = ip.link_lookup(ifname=DEVBOX_INTERFACE)[0]
    ip.link("set", index=LOOPBACK, state="up")
    ip.addr("add", index=index, address=str(slot.devbox4), prefixlen=31)
    _add_address6(ip, index, str(slot.devbox6))
    ip.link("set", index=index, state="up")
    _add_neighbours(ip, index, (slot.gateway4, slot.gateway6), slot.gateway_mac)
    for family, gateway in (
        (socket.AF_INET, slot.gateway4),
        (socket.AF_INET6, slot.gateway6),
    ):
        ip.route("add", family=family, dst="default", gateway=str(gateway), oif=index)


def _wait_until_sending(ip: Any, slot: Slot) -> None:
    """Wait until the gateway's end sends.

    It was brought up before its peer, so its queue is put in place by a kernel worker, some
    time after the peer came up. An answer sent before that is lost, and the devbox would
    wait a second before it tries again.
    """
    deadline = time.monotonic() + _SENDING_TIMEOUT
    while True:
        (link,) = ip.link("get", index=slot.interface_index)
        if link.get("qdisc") != _NO_QUEUE_YET:
            return
        if time.monotonic() > deadline:
            raise EnforcementError(f"{slot.interface} does not come up")
        time.sleep(0.001)


def _add_address6(ip: Any, index: int, address: str) -> None:
    ip.addr(
        "add",
        index=index,
        family=socket.AF_INET6,
        address=address,
        prefixlen=127,
        flags=_IFA_F_NODAD,
    )


def _add_neighbours(ip: Any, index: int, addresses: Sequence[Any], mac: str) -> None:
    for address in addresses:
        ip.neigh(
            "add",
            family=socket.AF_INET if address.version == 4 else socket.AF_INET6,
            ifindex=index,
            dst=str(address),
            lladdr=mac,
            nud="permanent",
        )
