"""Accepts the TCP connections of devboxes, to any address and port."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from functools import lru_cache
from ipaddress import ip_address

from stockade.gateway.connection import Connection
from stockade.gateway.devboxes import AttachedDevbox
from stockade.gateway.flowlog import Kind
from stockade.gateway.listening import Pace, TaskKeeper, accept_each
from stockade.gateway.services import Services
from stockade.gateway.sides import reset
from stockade.gateway.upstream import keep_alive, tune
from stockade.policy.decide import Reason, deny

# Devboxes connect to the same few addresses again and again.
parse_address = lru_cache(4_096)(ip_address)


class TcpService:
    """Starts a `Connection` for each accepted socket, within the limits of its devbox."""

    def __init__(
        self, services: Services, tasks: TaskKeeper, clock: Callable[[], float]
    ) -> None:
        self._services = services
        self._tasks = tasks
        self._clock = clock
        self._pace = Pace(
            clock,
            rate=services.limits.contended_connections_per_second,
            burst=services.limits.contended_connection_burst,
        )
        self._refused: dict[AttachedDevbox, float] = {}

    def serve(self, listener: socket.socket) -> None:
        """Accept on *listener*, one of the gateway's transparent sockets."""
        tune(listener)  # What it accepts has the same options from the start.
        keep_alive(listener)
        # The way to a devbox is a link inside the machine, on which no rate has to be
        # found: a congestion control that paces (BBR) costs a third of the throughput.
        with contextlib.suppress(OSError):  # A matter of speed alone.
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"reno")
        accept_each(listener, self._accepted, self._pace)

    def end_idle(self) -> None:
        """End the connections in which nothing has passed for too long."""
        now = self._clock()
        for devbox in self._services.registry:
            for flow in tuple(devbox.flows):
                if isinstance(flow, Connection):
                    flow.end_if_idle(now)

    def _accepted(self, client: socket.socket, source: str) -> None:
        # The address a redirected connection was made to is its own local address.
        address, port = client.getsockname()[:2]
        devbox = self._services.registry.at(source)
        if devbox is None:
            reset(client)
            return
        if len(devbox.flows) >= self._services.limits.flows:
            self._refuse_surplus(devbox, client, address, port)
            return
        connection = Connection(
            self._services, devbox, client, parse_address(address), port
        )
        connection.start(self._tasks)

    def _refuse_surplus(
        self, devbox: AttachedDevbox, client: socket.socket, address: str, port: int
    ) -> None:
        """Refuse a connection beyond the limit; one record a second says so."""
        reset(client)
        now = self._clock()
        if self._refused.get(devbox, 0.0) > now:
            return
        self._refused[devbox] = now + 1.0
        self._services.log.open(
            devbox.subject,
            Kind.TCP,
            deny(Reason.TOO_MANY_FLOWS),
            address=address,
            port=port,
        ).close()
