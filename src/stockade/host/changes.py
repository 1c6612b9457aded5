"""Tells that something in a network namespace has changed, as soon as it has.

The kernel tells whoever asks (netlink) of links, addresses, neighbours, routes, rules,
some settings, and rulesets. It does not matter what it was: whoever is told reads back
everything.
"""

from __future__ import annotations

import socket

from stockade.host.netns import Netns

# linux/netlink.h, linux/rtnetlink.h, linux/netfilter/nfnetlink.h
_SOL_NETLINK = 270
_ADD_MEMBERSHIP = 1
_NETLINK_NETFILTER = 12
_NFTABLES = 7
_LINK, _NEIGHBOUR = 1, 3
_ADDRESS4, _ROUTE4, _RULE4 = 5, 7, 8
_ADDRESS6, _ROUTE6, _RULE6 = 9, 11, 19
_CONF4, _CONF6 = 24, 25
_ROUTING = (
    *(_LINK, _NEIGHBOUR, _ADDRESS4, _ROUTE4, _RULE4, _ADDRESS6, _ROUTE6, _RULE6),
    *(_CONF4, _CONF6),
)
_MESSAGE = 65_536


class Changes:
    """The sockets by which the kernel tells of changes in one namespace."""

    def __init__(self, netns: Netns) -> None:
        with netns.entered():
            self._sockets = (
                _subscribed(socket.NETLINK_ROUTE, _ROUTING),
                _subscribed(_NETLINK_NETFILTER, (_NFTABLES,)),
            )

    def filenos(self) -> tuple[int, ...]:
        """The descriptors, one of which is readable after a change."""
        return tuple(sock.fileno() for sock in self._sockets)

    def drain(self) -> None:
        """Forget the changes told so far."""
        for sock in self._sockets:
            while True:
                try:
                    sock.recv(_MESSAGE)
                except BlockingIOError:
                    break
                except OSError:
                    continue  # More than there was room for; that is told once.

    def close(self) -> None:
        """Ask for no more. May be called twice."""
        for sock in self._sockets:
            sock.close()


def _subscribed(family: int, groups: tuple[int, ...]) -> socket.socket:
    sock = socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, family
    )
    try:
        sock.bind((0, 0))
        for group in groups:
            sock.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)
    except BaseException:
        sock.close()
        raise
    return sock
