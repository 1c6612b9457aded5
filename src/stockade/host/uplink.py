"""What the gateway must know of the uplink namespace: its own addresses, its resolvers.

Both change while a gateway runs. What is known of an address is remembered only while
somebody listens to what the kernel tells of addresses, links, routes and rules.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from stockade.host import netlink

Address = IPv4Address | IPv6Address

RESOLV_CONF = Path("/etc/resolv.conf")
_MAX_RESOLVERS = 3  # MAXNS of resolv.conf(5)

# linux/rtnetlink.h
_RTM_NEWROUTE, _RTM_GETROUTE = 24, 26
_RTA_DST = 1
_RTN_UNICAST = 1
_ROUTE = struct.Struct("=BBBBBBBBI")
_ERROR_CODE = struct.Struct("=i")
# RTMGRP_* and RTNLGRP_IPV6_RULE: whatever may change where a packet goes.
_LINK, _IFADDR4, _ROUTE4, _RULE4 = 0x1, 0x10, 0x40, 0x80
_IFADDR6, _ROUTE6, _RULE6 = 0x100, 0x400, 1 << 18
_CHANGES = _LINK | _IFADDR4 | _ROUTE4 | _RULE4 | _IFADDR6 | _ROUTE6 | _RULE6
_MAX_FACTS = 4_096
_MESSAGE = 4_096
# There is no way there, so it is not this machine; the dial fails by itself.
_UNREACHABLE = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH})


class HostUplink:
    """The uplink as this process sees it: it must live in the uplink namespace.

    `start` and `follow_changes` open netlink sockets, which belong to the namespace of
    the thread that calls them. Calls may come from one thread at a time.
    """

    def __init__(self, resolv_conf: Path = RESOLV_CONF) -> None:
        self._resolv_conf = resolv_conf
        self._netlink: socket.socket | None = None
        self._changes: socket.socket | None = None
        self._facts: dict[Address, bool] = {}
        self._sequence = 0
        self._resolvers: tuple[Address, ...] = ()
        self._read: tuple[int, int, int] | None = None

    def start(self) -> None:
        """Open the netlink socket."""
        self._netlink = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE
        )
        self._netlink.connect((0, 0))  # so that only the kernel can answer

    def stop(self) -> None:
        """Close the netlink sockets. May be called twice."""
        for sock in (self._netlink, self._changes):
            if sock is not None:
                sock.close()
        self._netlink = self._changes = None

    def is_host_address(self, address: Address) -> bool:
        """Whether a packet to *address* would end on this machine or reach a group.

        Asks the kernel's routing table, once until something changes. Whatever is not a
        clear answer counts as yes, since what this machine serves is no devbox's
        business.
        """
        fact = self._facts.get(address)
        if fact is None:
            fact = self._ask(address)
            if self._changes is not None:
                if len(self._facts) >= _MAX_FACTS:
                    self._facts.clear()
                self._facts[address] = fact
        return fact

    def follow_changes(
        self, add_reader: Callable[[int, Callable[[], None]], None]
    ) -> None:
        """Remember answers from here on, until the kernel tells of a change.

        *add_reader* is given a descriptor, and what to call when it can be read.
        """
        self._changes = socket.socket(
            socket.AF_NETLINK,
            socket.SOCK_RAW | socket.SOCK_NONBLOCK,
            socket.NETLINK_ROUTE,
        )
        self._changes.bind((0, _CHANGES))
        add_reader(self._changes.fileno(), self._changed)

    def _changed(self) -> None:
        self._facts.clear()
        with suppress(OSError):  # Read to the end, or more changes than there was room.
            while self._changes is not None:
                self._changes.recv(_MESSAGE)

    def _ask(self, address: Address) -> bool:
        if self._netlink is None or address.is_unspecified:
            return True  # connect() takes the unspecified address for loopback
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        self._sequence = (self._sequence + 1) & 0xFFFFFFFF
        try:
            self._netlink.send(render_route_query(address, self._sequence))
            while True:
                answer = self._netlink.recv(_MESSAGE, socket.MSG_DONTWAIT)
                verdict = parse_route_answer(answer, self._sequence)
                if verdict is not None:
                    return verdict
        except OSError:
            return True

    def resolvers(self) -> tuple[Address, ...]:
        """The uplink's resolvers, in the order in which to ask them."""
        try:
            status = self._resolv_conf.stat()
            version = (status.st_ino, status.st_mtime_ns, status.st_size)
        except OSError:
            return ()
        if version != self._read:
            self._resolvers, self._read = resolvers(self._resolv_conf), version
        return self._resolvers


def resolvers(path: Path = RESOLV_CONF) -> tuple[Address, ...]:
    """The resolvers that *path* names; none if it cannot be read."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ()
    return parse_resolv_conf(text)


def parse_resolv_conf(text: str) -> tuple[Address, ...]:
    """Read the `nameserver` lines, up to the three that the C library uses, too.

    A line that is not an address is passed over, as the C library does.
    """
    found: list[Address] = []
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] == "nameserver":
            with suppress(ValueError):
                found.append(ip_address(words[1]))
    return tuple(found[:_MAX_RESOLVERS])


def render_route_query(address: Address, sequence: int) -> bytes:
    """The netlink message that asks the kernel how it would route to *address*."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    packed = address.packed
    body = _ROUTE.pack(family, 8 * len(packed), 0, 0, 0, 0, 0, 0, 0)
    body += netlink.render_attribute(_RTA_DST, packed)
    return netlink.render_request(_RTM_GETROUTE, sequence, body)


def parse_route_answer(answer: bytes, sequence: int) -> bool | None:
    """Whether *answer* says the address is this machine's or a group's.

    None: it answers another question. Any doubt counts as yes.
    """
    if len(answer) < netlink.HEADER.size + _ROUTE.size:
        return True
    _, kind, _, found, _ = netlink.HEADER.unpack_from(answer)
    if found != sequence:
        return None
    if kind == netlink.ERROR:
        (code,) = _ERROR_CODE.unpack_from(answer, netlink.HEADER.size)
        return -code not in _UNREACHABLE
    if kind != _RTM_NEWROUTE:
        return True
    route_type: int = _ROUTE.unpack_from(answer, netlink.HEADER.size)[7]
    return route_type != _RTN_UNICAST
