"""The gateway's own way out: connections and questions from the uplink namespace.

The gateway process lives in the uplink namespace; only its listening sockets belong to
the gateway namespace. So plain `socket()` calls made here leave by the uplink.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from typing import Protocol

from stockade.gateway.events import EventQueue
from stockade.gateway.sides import Side
from stockade.policy.guardrails import Address

CONNECT_TIMEOUT = 20.0

_KEEPALIVE_IDLE = 60
_KEEPALIVE_INTERVAL = 15
_KEEPALIVE_PROBES = 4


class Uplink(Protocol):
    """What must be known of the uplink namespace."""

    def is_host_address(self, address: Address) -> bool:
        """Whether *address* belongs to this machine there. "Cannot tell" is true."""

    def follow_changes(
        self, add_reader: Callable[[int, Callable[[], None]], None]
    ) -> None:
        """Remember what was asked until it changes; *add_reader* is a loop's."""

    def resolvers(self) -> tuple[Address, ...]:
        """The upstream resolvers, in the order in which to ask them."""


class Dialer(Protocol):
    """Opens connections to vetted addresses."""

    def begin(self, address: Address, port: int, queue: EventQueue) -> Side:
        """Begin to connect, or raise `OSError`. The side is watched in *queue*."""

    async def is_connected(self, side: Side, seconds: float) -> bool:
        """Wait for a side that was begun; False if it has no answer within *seconds*.

        Raises the `OSError` of one that failed, having closed it.
        """

    async def dial(self, address: Address, port: int, queue: EventQueue) -> Side:
        """Connect, or raise `OSError`, in time. The side is watched in *queue*."""


class TcpDialer:
    """Connects from the namespace of this process."""

    def __init__(self, *, timeout: float = CONNECT_TIMEOUT) -> None:
        self._timeout = timeout

    def begin(self, address: Address, port: int, queue: EventQueue) -> Side:
        """Begin to connect, or raise `OSError`."""
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            tune(sock)
            status = sock.connect_ex((str(address), port))
            if status != errno.EINPROGRESS:
                _raise_if(status)
        except BaseException:
            sock.close()
            raise
        return Side(sock, queue)

    async def is_connected(self, side: Side, seconds: float) -> bool:
        """Wait for a side that was begun; False if it has no answer within *seconds*."""
        try:
            await side.writable(seconds)
        except TimeoutError:
            return False
        except BaseException:
            side.close()
            raise
        status = side.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if status:
            side.close()
            _raise_if(status)
        return True

    async def dial(self, address: Address, port: int, queue: EventQueue) -> Side:
        """Connect, or raise `OSError` (`TimeoutError` after the dialer's time-out)."""
        side = self.begin(address, port, queue)
        await finish(self, side, self._timeout)
        return side


async def finish(dialer: Dialer, side: Side, seconds: float = CONNECT_TIMEOUT) -> None:
    """Wait until a side that was begun is connected; raises `OSError`, in time."""
    if not await dialer.is_connected(side, seconds):
        side.close()
        _raise_if(errno.ETIMEDOUT)


def _raise_if(status: int) -> None:
    if status:
        raise OSError(status, os.strerror(status))


def tune(sock: socket.socket) -> None:
    """Set what every relayed connection has from its start: no delay for small writes."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def keep_alive(sock: socket.socket) -> None:
    """Have a connection that lasts be probed, so that a peer that is gone is noticed."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_IDLE)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _KEEPALIVE_INTERVAL)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _KEEPALIVE_PROBES)
