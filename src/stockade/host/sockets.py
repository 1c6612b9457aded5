"""The gateway's sockets, made inside the gateway namespace.

A socket belongs to the namespace it was made in, whoever holds it. So the gateway
process, which runs in the uplink namespace and needs no privilege, inherits these and
serves devboxes with them, while everything it opens itself leaves by the uplink.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, fields

from stockade.errors import EnforcementError
from stockade.host.netns import Netns
from stockade.host.ruleset import PORTS

# linux/in.h, linux/in6.h: not all are in the socket module.
IP_TRANSPARENT = 19
IP_RECVORIGDSTADDR = 20
IP_NODEFRAG = 22
IPV6_HDRINCL = 36
IPV6_RECVORIGDSTADDR = 74
IPV6_TRANSPARENT = 75

_BACKLOG = 4_096
# Bursts of datagrams from many devboxes meet in one socket. Only a privileged process
# may go beyond net.core.rmem_max.
_DATAGRAM_BUFFER = 4 * 1024**2
_SO_RCVBUFFORCE = 33


@dataclass(frozen=True, slots=True)
class GatewaySockets:
    """All sockets of one gateway, non-blocking.

    `getsockname()` of a connection accepted from `tcp4`, `tcp6`, `dnstcp4` or `dnstcp6`
    is the original destination. `udp*` and `dnsx*` tell it for each datagram in a
    control message (`IP_ORIGDSTADDR`, `IPV6_ORIGDSTADDR`). `dns*` receive the questions
    sent to the devbox's own gateway address. `raw*` take whole packets, IP header
    included, with any source address.
    """

    tcp4: socket.socket
    tcp6: socket.socket
    udp4: socket.socket
    udp6: socket.socket
    dns4: socket.socket
    dns6: socket.socket
    dnsx4: socket.socket
    dnsx6: socket.socket
    dnstcp4: socket.socket
    dnstcp6: socket.socket
    raw4: socket.socket
    raw6: socket.socket

    def fds(self) -> dict[str, int]:
        """The descriptors by name: what a gateway process inherits."""
        return {name: sock.fileno() for name, sock in self._by_name().items()}

    @classmethod
    def from_fds(cls, fds: Mapping[str, int]) -> GatewaySockets:
        """Take over inherited descriptors; they are closed with the result."""
        return cls(**{f.name: socket.socket(fileno=fds[f.name]) for f in fields(cls)})

    def close(self) -> None:
        """Close all of them. May be called twice."""
        for sock in self._by_name().values():
            sock.close()

    def _by_name(self) -> dict[str, socket.socket]:
        return {f.name: getattr(self, f.name) for f in fields(self)}


def open_gateway_sockets(netns: Netns) -> GatewaySockets:
    """Open and bind all sockets inside *netns*.

    Raises `EnforcementError`, having closed what was open, if one cannot be had.
    """
    opened: dict[str, socket.socket] = {}
    try:
        with netns.entered():
            for family, suffix in ((socket.AF_INET, "4"), (socket.AF_INET6, "6")):
                opened["tcp" + suffix] = _listener(family, PORTS.tcp)
                opened["dnstcp" + suffix] = _listener(family, PORTS.dns_tcp)
                opened["udp" + suffix] = _datagrams(family, PORTS.udp)
                opened["dnsx" + suffix] = _datagrams(family, PORTS.dns_udp)
                opened["dns" + suffix] = _bound(family, socket.SOCK_DGRAM, PORTS.dns)
                opened["raw" + suffix] = _raw(family)
    except OSError as error:
        for sock in opened.values():
            sock.close()
        hint = ""
        if error.errno == errno.EAFNOSUPPORT:
            hint = "; IPv6 is switched off (kernel parameter ipv6.disable)"
        raise EnforcementError(
            f"cannot open the gateway's sockets: {os.strerror(error.errno or 0)}{hint}"
        ) from None
    return GatewaySockets(**opened)


def _listener(family: socket.AddressFamily, port: int) -> socket.socket:
    sock = _bound(family, socket.SOCK_STREAM, port, transparent=True)
    sock.listen(_BACKLOG)
    return sock


def _datagrams(family: socket.AddressFamily, port: int) -> socket.socket:
    sock = _bound(family, socket.SOCK_DGRAM, port, transparent=True)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVORIGDSTADDR, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, IP_RECVORIGDSTADDR, 1)
    return sock


def _bound(
    family: socket.AddressFamily,
    kind: socket.SocketKind,
    port: int,
    *,
    transparent: bool = False,
) -> socket.socket:
    sock = socket.socket(family, kind | socket.SOCK_NONBLOCK)
    try:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if transparent and family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, IPV6_TRANSPARENT, 1)
        elif transparent:
            sock.setsockopt(socket.IPPROTO_IP, IP_TRANSPARENT, 1)
        if kind == socket.SOCK_DGRAM:
            _enlarge(sock)
        sock.bind(("", port))
    except BaseException:
        sock.close()
        raise
    return sock


def _enlarge(sock: socket.socket) -> None:
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _DATAGRAM_BUFFER)
    except PermissionError:  # root of a user namespace only
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _DATAGRAM_BUFFER)


def _raw(family: socket.AddressFamily) -> socket.socket:
    sock = socket.socket(
        family, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.IPPROTO_RAW
    )
    try:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, IPV6_HDRINCL, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_HDRINCL, 1)
            # Fragments made by the gateway go out as they are.
            sock.setsockopt(socket.IPPROTO_IP, IP_NODEFRAG, 1)
    except BaseException:
        sock.close()
        raise
    return sock
