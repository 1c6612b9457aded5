"""Interfaces, addresses, routes and neighbours, by batches of `ip`.

One `ip -batch` process changes a namespace in 3 ms. A netlink library in the process
would save that, and cost 130 ms of imports at each `stockade run`
(docs/decisions/0006-iproute2.md).
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import time
from collections.abc import Sequence
from contextlib import suppress

from stockade.command import run
from stockade.errors import CommandError, EnforcementError
from stockade.host import netlink
from stockade.host.netns import Netns
from stockade.host.slots import DEVBOX_INTERFACE, Slot

#: The index of lo, in every namespace.
LOOPBACK = 1
IFF_UP = 1
# linux/sockios.h
_SIOCGIFFLAGS = 0x8913
# What most networks carry. 65535 makes the link itself faster for one TCP stream (21 to
# 31 Gbit/s), but not the way through the gateway, and would let datagrams pass here
# that break further on.
_MTU = 1500
_SENDING_TIMEOUT = 5.0
_NO_QUEUE_YET = b"noop"
# linux/rtnetlink.h, linux/if_link.h
_INTERFACE = struct.Struct("=BxHiII")
_RTM_GETLINK = 18
_IFLA_QDISC = 6
_ROUTE = struct.Struct("=8BI")
_RTM_GETROUTE, _RTA_DST, _RTN_LOCAL = 26, 1, 2


def batch(netns: Netns, lines: Sequence[str], *options: str) -> str:
    """Run *lines* as commands of `ip` in *netns*; return what they print.

    One process runs all of them, up to the first that fails. What the kernel refuses
    becomes an `EnforcementError`.
    """
    text = "".join(f"{line}\n" for line in lines)
    try:
        # A child process starts in the namespace of the thread that makes it.
        with netns.entered():
            return run(["ip", *options, "-batch", "-"], stdin=text).stdout
    except CommandError as error:
        raise EnforcementError(
            f"the kernel refused a network change: {error.stderr.strip()}"
        ) from None


def interfaces(netns: Netns) -> dict[str, int]:
    """The interfaces of *netns* by name, with their numbers."""
    with netns.entered():
        return {name: index for index, name in socket.if_nameindex()}


def interfaces_up(netns: Netns) -> frozenset[tuple[int, str]]:
    """Number and name of the interfaces of *netns* that are up."""
    with (
        netns.entered(),
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel,
    ):
        return frozenset(
            (index, name)
            for index, name in socket.if_nameindex()
            if _flags(channel, name) & IFF_UP
        )


def connect(gateway: Netns, devbox: Netns, slot: Slot) -> None:
    """Make the veth pair of *slot*, each end in its namespace, and bring it up."""
    _refuse_other_ways(devbox)
    ours, theirs = slot.interface, DEVBOX_INTERFACE
    there = f"/proc/{os.getpid()}/fd/{devbox.fd}"
    batch(
        gateway,
        (
            (
                f"link add name {ours} index {slot.interface_index} mtu {_MTU} "
                f"address {slot.gateway_mac} type veth peer name {theirs} mtu {_MTU} "
                f"address {slot.devbox_mac} netns {there}"
            ),
            # Without ARP the kernel ignores what the devbox says of its address.
            f"link set {ours} arp off",
            *_addressed(ours, slot.gateway4, slot.gateway6),
            *_neighbours(ours, (slot.devbox4, slot.devbox6), slot.devbox_mac),
        ),
    )
    batch(
        devbox,
        (
            "link set lo up",
            *_addressed(theirs, slot.devbox4, slot.devbox6),
            *_neighbours(theirs, (slot.gateway4, slot.gateway6), slot.gateway_mac),
            f"route add default via {slot.gateway4} dev {theirs}",
            f"route add default via {slot.gateway6} dev {theirs}",
        ),
    )
    _wait_until_sending(gateway, slot)


def disconnect(gateway: Netns, slot: Slot) -> None:
    """Remove the veth pair of *slot*, if it is there: it goes with the devbox, too."""
    try:
        if slot.interface in interfaces(gateway):
            batch(gateway, (f"link del {slot.interface}",))
    except EnforcementError:
        if slot.interface in interfaces(gateway):
            raise  # It did not go with its devbox meanwhile.


def reconnect(gateway: Netns, devbox: Netns, slot: Slot) -> None:
    """Make the veth pair of *slot* anew, wherever its ends have got to.

    Connections of the devbox go on: its addresses are the same. Raises
    `EnforcementError` if the devbox has another way out.
    """
    if DEVBOX_INTERFACE in interfaces(devbox):
        batch(devbox, (f"link del {DEVBOX_INTERFACE}",))  # And with it its peer.
    disconnect(gateway, slot)
    connect(gateway, devbox, slot)


def _refuse_other_ways(devbox: Netns) -> None:
    """Raise if the devbox has another way out already: nothing would police that."""
    for index, name in sorted(interfaces_up(devbox)):
        if index != LOOPBACK:
            raise EnforcementError(
                f"the devbox has a network interface already: {name}"
            )


def _wait_until_sending(gateway: Netns, slot: Slot) -> None:
    """Wait until the gateway's end sends.

    It came up before its peer, so a kernel worker puts its queue in place, some time
    after the peer came up. An answer sent before that is lost, and the devbox would
    wait a second before it asks again: seen in 1 of 50 starts on a busy machine. The
    route to its IPv6 address comes by such a worker, too.
    """
    deadline = time.monotonic() + _SENDING_TIMEOUT
    with (
        gateway.entered(),
        socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE
        ) as channel,
    ):
        while _queue(channel, slot.interface_index) == _NO_QUEUE_YET or not _is_local(
            channel, slot.gateway6.packed
        ):
            if time.monotonic() > deadline:
                raise EnforcementError(f"{slot.interface} does not come up")
            time.sleep(0.001)


def _queue(channel: socket.socket, index: int) -> bytes:
    """The queueing discipline of an interface; empty if the kernel does not say."""
    body = _INTERFACE.pack(socket.AF_UNSPEC, 0, index, 0, 0)
    channel.send(netlink.render_request(_RTM_GETLINK, 0, body))
    answer = channel.recv(65_536)
    attributes = netlink.parse_attributes(
        answer[netlink.HEADER.size + _INTERFACE.size :]
    )
    return attributes.get(_IFLA_QDISC, b"").rstrip(b"\0")


def _is_local(channel: socket.socket, address6: bytes) -> bool:
    """Whether the kernel delivers to an IPv6 address here."""
    body = _ROUTE.pack(socket.AF_INET6, 128, 0, 0, 0, 0, 0, 0, 0)
    body += netlink.render_attribute(_RTA_DST, address6)
    channel.send(netlink.render_request(_RTM_GETROUTE, 0, body))
    answer = channel.recv(65_536)
    kind = netlink.HEADER.unpack_from(answer)[1]
    if kind == netlink.ERROR:  # There is no route at all yet.
        return False
    return bool(_ROUTE.unpack_from(answer, netlink.HEADER.size)[7] == _RTN_LOCAL)


def _addressed(interface: str, address4: object, address6: object) -> tuple[str, ...]:
    """Give *interface* its two addresses and bring it up.

    Duplicate address detection would make an address unusable for a second or two, and
    there is nobody else on the link.
    """
    return (
        f"addr add {address4}/31 dev {interface}",
        f"addr add {address6}/127 dev {interface} nodad",
        f"link set {interface} up",
    )


def _neighbours(interface: str, addresses: Sequence[object], mac: str) -> list[str]:
    return [
        f"neigh add {address} lladdr {mac} dev {interface} nud permanent"
        for address in addresses
    ]


def _flags(channel: socket.socket, name: str) -> int:
    """The flags of an interface; none for one that has just gone."""
    with suppress(OSError):
        request = struct.pack("16sH14x", name.encode(), 0)
        flags: int = struct.unpack_from(
            "16xH", fcntl.ioctl(channel, _SIOCGIFFLAGS, request)
        )[0]
        return flags
    return 0
