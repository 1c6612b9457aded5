"""Interfaces, addresses, routes and neighbours, by pyroute2.

pyroute2 is imported inside the functions: its import takes 0.15 s, its package file imports
all of it, and most commands never attach a devbox.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from stockade.errors import EnforcementError
from stockade.host.netns import Netns
from stockade.host.ruleset import MARK
from stockade.host.slots import DEVBOX_INTERFACE, Slot

#: The routing table that delivers marked packets to the gateway's sockets.
DELIVERY_TABLE = 100
# After the local table (0), before the main one (32766).
_DELIVERY_PRIORITY = 100
_LOOPBACK = 1
_MAIN_TABLE = 254
_LOCAL_TABLE = 255
_FAMILIES = ((socket.AF_INET, 4, "0.0.0.0/0"), (socket.AF_INET6, 6, "::/0"))
# Duplicate address detection would make an address unusable for a second or two, and there
# is nobody else on the link (linux/if_addr.h).
_IFA_F_NODAD = 0x02
# Segments of one TCP stream cross a veth unsegmented (TSO), so a larger MTU gains nothing
# but datagrams that real networks do not carry.
_MTU = 1500


@dataclass(frozen=True, slots=True, order=True)
class PolicyRule:
    """One `ip rule`, reduced to what decides."""

    version: int
    priority: int
    mark: int
    table: int


@dataclass(frozen=True, slots=True, order=True)
class Route:
    """One route outside the local table, reduced to what decides."""

    version: int
    table: int
    destination: str
    interface: str
    local: bool


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
    except NetlinkError as error:
        raise EnforcementError(
            f"the kernel refused a network change: {error}"
        ) from error


def route_to_sockets(netns: Netns) -> None:
    """Bring lo up and deliver marked packets locally. Doing it twice changes nothing."""
    with rtnetlink(netns) as ip:
        ip.link("set", index=_LOOPBACK, state="up")
        for family, _, everything in _FAMILIES:
            with _ignoring(errno.EEXIST):
                ip.rule(
                    "add",
                    family=family,
                    priority=_DELIVERY_PRIORITY,
                    fwmark=MARK,
                    table=DELIVERY_TABLE,
                )
            ip.route(
                "replace",
                family=family,
                dst=everything,
                type="local",
                scope="host" if family == socket.AF_INET else "universe",
                oif=_LOOPBACK,
                table=DELIVERY_TABLE,
            )


def connect(gateway: Netns, devbox: Netns, slot: Slot) -> None:
    """Make the veth pair of *slot*, an end directly in each namespace, and bring it up."""
    with rtnetlink(gateway) as ip, rtnetlink(devbox) as box:
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


def disconnect(gateway: Netns, slot: Slot) -> None:
    """Remove the veth pair of *slot*, if it is there: it goes with the devbox, too."""
    with rtnetlink(gateway) as ip, _ignoring(errno.ENODEV):
        ip.link("del", index=slot.interface_index)


def _configure_gateway(ip: Any, slot: Slot) -> None:
    index = slot.interface_index
    ip.addr("add", index=index, address=str(slot.gateway4), prefixlen=31)
    _add_address6(ip, index, str(slot.gateway6))
    # Without ARP the kernel ignores what the devbox says of its hardware address.
    ip.link("set", index=index, state="up", arp=False)
    _add_neighbours(ip, index, (slot.devbox4, slot.devbox6), slot.devbox_mac)


def _configure_devbox(ip: Any, slot: Slot) -> None:
    index = ip.link_lookup(ifname=DEVBOX_INTERFACE)[0]
    ip.link("set", index=_LOOPBACK, state="up")
    ip.addr("add", index=index, address=str(slot.devbox4), prefixlen=31)
    _add_address6(ip, index, str(slot.devbox6))
    ip.link("set", index=index, state="up")
    _add_neighbours(ip, index, (slot.gateway4, slot.gateway6), slot.gateway_mac)
    for family, gateway in (
        (socket.AF_INET, slot.gateway4),
        (socket.AF_INET6, slot.gateway6),
    ):
        ip.route("add", family=family, dst="default", gateway=str(gateway), oif=index)


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


@contextmanager
def _ignoring(code: int) -> Iterator[None]:
    from pyroute2 import NetlinkError

    try:
        yield
    except NetlinkError as error:
        if error.code != code:
            raise
