"""The gateway's sockets, made inside the gateway namespace.

A socket belongs to the namespace it was made in, whoever holds it. So the gateway
process, which runs in the uplink namespace and needs no privilege, inherits these and
serves devboxes with them, while everything it opens itself leaves by the uplink.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from stockade.errors import EnforcementError
from stockade.host.netns import Netns
from stockade.host.ruleset import DNS_PORT, Ports

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

# Classic BPF (linux/filter.h): code, two jumps, constant. SKF_NET_OFF is negative.
_SO_ATTACH_REUSEPORT_CBPF = 51
_BPF_INSTRUCTION = struct.Struct("=HBBI")
_BPF_LOAD_WORD = 0x20
_BPF_SHIFT_RIGHT = 0x74
_BPF_AND = 0x54
_BPF_RETURN_A = 0x16
_BPF_NETWORK_HEADER = 0x1_0000_0000 - 0x10_0000


@dataclass(frozen=True, slots=True)
class GatewaySockets:
    """All sockets of one gateway, non-blocking, by name.

    `raw4` and `raw6` take whole packets, IP header included, with any source address.
    The others exist once for each lane, with the lane's number in the name (`tcp4.0`):

    `getsockname()` of a connection accepted from `tcp4`, `tcp6`, `dnstcp4` or `dnstcp6`
    is the original destination. `udp*` and `dnsx*` tell it for each datagram in a
    control message (`IP_ORIGDSTADDR`, `IPV6_ORIGDSTADDR`). `dns*` receive the questions
    sent to the devbox's own gateway address.
    """

    by_name: Mapping[str, socket.socket]

    def fds(self) -> dict[str, int]:
        """The descriptors by name: what a gateway process inherits."""
        return {name: sock.fileno() for name, sock in self.by_name.items()}

    def close(self) -> None:
        """Close all of them. May be called twice."""
        for sock in self.by_name.values():
            sock.close()


def open_gateway_sockets(netns: Netns, lanes: int = 1) -> GatewaySockets:
    """Open and bind all sockets of so many lanes inside *netns*.

    Raises `EnforcementError`, having closed what was open, if one cannot be had.
    """
    opened: dict[str, socket.socket] = {}
    try:
        with netns.entered():
            for family, suffix in ((socket.AF_INET, "4"), (socket.AF_INET6, "6")):
                for lane in range(lanes):
                    opened |= _open_lane(family, suffix, lane)
                _steer(opened[f"dns{suffix}.0"], family, lanes)
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
    return GatewaySockets(opened)


def _open_lane(
    family: socket.AddressFamily, suffix: str, lane: int
) -> dict[str, socket.socket]:
    ports = Ports.of_lane(lane)
    return {
        f"tcp{suffix}.{lane}": _listener(family, ports.tcp),
        f"dnstcp{suffix}.{lane}": _listener(family, ports.dns),
        f"udp{suffix}.{lane}": _datagrams(family, ports.udp),
        f"dnsx{suffix}.{lane}": _datagrams(family, ports.dns),
        f"dns{suffix}.{lane}": _bound(family, socket.SOCK_DGRAM, DNS_PORT, shared=True),
    }


def _steer(sock: socket.socket, family: socket.AddressFamily, lanes: int) -> None:
    """Have the plain DNS sockets, bound in the order of their lanes, chosen by sender.

    The program returns the number of a devbox's lane, which is part of its address.
    """
    last_word = 12 if family == socket.AF_INET else 20  # of the source address
    program = b"".join(
        _BPF_INSTRUCTION.pack(*instruction)
        for instruction in (
            (_BPF_LOAD_WORD, 0, 0, _BPF_NETWORK_HEADER + last_word),
            (_BPF_SHIFT_RIGHT, 0, 0, 1),
            (_BPF_AND, 0, 0, lanes - 1),
            (_BPF_RETURN_A, 0, 0, 0),
        )
    )
    held = ctypes.create_string_buffer(program)
    count = len(program) // _BPF_INSTRUCTION.size
    sock.setsockopt(
        socket.SOL_SOCKET,
        _SO_ATTACH_REUSEPORT_CBPF,
        struct.pack("@HP", count, ctypes.addressof(held)),
    )


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
    shared: bool = False,
) -> socket.socket:
    sock = socket.socket(family, kind | socket.SOCK_NONBLOCK)
    try:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if transparent and family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, IPV6_TRANSPARENT, 1)
        elif transparent:
            sock.setsockopt(socket.IPPROTO_IP, IP_TRANSPARENT, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
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
