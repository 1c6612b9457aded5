"""Sockets of the server process: in which namespace, and for which destinations.

A socket belongs to the namespace in which it was made. The process makes those of the
host namespace first, enters the inet namespace for good, and makes the transparent ones
there.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
from pathlib import Path
from typing import Final

from tests.lab.netns import NETNS
from tests.lab.witness import TCP_PORT, UDP_PORT

# Services of the machine that stockade runs on, on all its addresses.
HOST_TCP: Final = (22, 53, 80, 443, 2375, 5432, 6379, 8080, 9090)
HOST_UDP: Final = (53, 161, 5353, 12345)

_CLONE_NEWNET: Final = 0x40000000
_SO_RCVBUFFORCE: Final = 33
_IP_TRANSPARENT: Final = 19
_IP_RECVORIGDSTADDR: Final = 20
_IPV6_RECVORIGDSTADDR: Final = 74
_IPV6_TRANSPARENT: Final = 75


def enter(name: str) -> None:
    """Move this thread into a named namespace."""
    descriptor = os.open(Path(NETNS) / name, os.O_RDONLY)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(descriptor, _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"setns {name}")
    finally:
        os.close(descriptor)


def _bound(
    family: int, kind: int, address: tuple[str, int], *, transparent: bool
) -> socket.socket:
    sock = socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    if transparent:
        set_transparent(sock)
    sock.bind(address)
    if kind == socket.SOCK_STREAM:
        sock.listen(4096)
    else:
        # A flood must not push the fence of `Lab.sync` out of the buffer.
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 67_108_864)
        _want_destination(sock)
    return sock


def set_transparent(sock: socket.socket) -> None:
    """Let *sock* be bound to addresses that are not ours."""
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_TRANSPARENT, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, _IP_TRANSPARENT, 1)


def _want_destination(sock: socket.socket) -> None:
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVORIGDSTADDR, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, _IP_RECVORIGDSTADDR, 1)


def destination(ancillary: list[tuple[int, int, bytes]]) -> tuple[str, int] | None:
    """Where a datagram was sent, from its ancillary data."""
    for _, kind, data in ancillary:
        port = struct.unpack_from("!H", data, 2)[0]
        if kind == _IP_RECVORIGDSTADDR:
            return socket.inet_ntop(socket.AF_INET, data[4:8]), port
        if kind == _IPV6_RECVORIGDSTADDR:
            return socket.inet_ntop(socket.AF_INET6, data[8:24]), port
    return None


def answering(family: int, address: tuple[str, int]) -> socket.socket:
    """A socket to answer a datagram from the very address it was sent to."""
    sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        set_transparent(sock)
        sock.bind(address)
    except OSError:
        sock.close()
        raise
    return sock


def open_host() -> tuple[list[socket.socket], list[socket.socket]]:
    """The host's services: TCP listeners and UDP sockets, in the current namespace."""
    wildcards = ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::"))
    return tuple(
        [
            _bound(family, kind, (address, port), transparent=False)
            for port in ports
            for family, address in wildcards
        ]
        for kind, ports in (
            (socket.SOCK_STREAM, HOST_TCP),
            (socket.SOCK_DGRAM, HOST_UDP),
        )
    )  # type: ignore[return-value]


def open_inet() -> tuple[list[socket.socket], list[socket.socket]]:
    """The listeners for every address and port of the current namespace."""
    wildcards = ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::"))
    return (
        [
            _bound(family, socket.SOCK_STREAM, (address, TCP_PORT), transparent=True)
            for family, address in wildcards
        ],
        [
            _bound(family, socket.SOCK_DGRAM, (address, UDP_PORT), transparent=True)
            for family, address in wildcards
        ],
    )
