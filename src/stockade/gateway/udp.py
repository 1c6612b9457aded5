"""Relays datagrams: one exchange per devbox port and destination port.

An exchange is judged when its first datagram comes, by address or by the name a lookup
of the devbox gives for it; the gateway then sends to where that name points, and
answers in the name of the address the devbox used. What is denied is answered with an
ICMP error.
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Callable
from ipaddress import ip_address

from stockade.gateway.devboxes import AttachedDevbox
from stockade.gateway.dialing import with_host_fact
from stockade.gateway.exchange import Exchange
from stockade.gateway.flowlog import Kind, OpenFlow
from stockade.gateway.judging import candidates
from stockade.gateway.listening import TaskKeeper
from stockade.gateway.services import Services
from stockade.gateway.sinkhole import is_sinkhole
from stockade.gateway.sockets import Datagrams, Endpoint, original_destination
from stockade.names import Hostname
from stockade.policy.decide import Decision, Flow, Reason, deny
from stockade.policy.model import Transport

QUIC_PORT = 443

# In a round of the loop: other lanes and devboxes wait meanwhile.
_BATCH = 4
_MAX_DATAGRAM = 65_535
_DENIED_MEMORY = 1.0
_MAX_DENIED = 16_384


#: An exchange as the kernel names it: the sender, and the destination's socket address.
Key = tuple[tuple[str, int], bytes]


class UdpService:
    """Reads the datagrams of all devboxes and keeps their exchanges."""

    def __init__(
        self,
        services: Services,
        tasks: TaskKeeper,
        datagrams: Datagrams,
        clock: Callable[[], float],
    ) -> None:
        self.services = services
        self.datagrams = datagrams
        self.clock = clock
        self._tasks = tasks
        self._exchanges: dict[Key, Exchange] = {}
        self._running: Counter[AttachedDevbox] = Counter()
        self._denied: dict[Key, float] = {}

    def serve(self, sock: socket.socket) -> None:
        """Relay what comes in on *sock*, one of the gateway's transparent sockets."""
        receive, exchanges = sock.recvmsg, self._exchanges

        def read() -> None:
            for _ in range(_BATCH):
                try:
                    payload, ancillary, _, source = receive(_MAX_DATAGRAM, 256)
                except OSError:
                    return
                if not ancillary:
                    continue
                key = (source[:2], ancillary[0][2])
                exchange = exchanges.get(key)
                if exchange is not None:
                    exchange.send(payload)
                    continue
                target = original_destination(ancillary)
                if target is not None:
                    self._receive(key, target, payload)

        asyncio.get_running_loop().add_reader(sock.fileno(), read)

    def end_idle(self) -> None:
        """End the exchanges in which nothing has passed for too long."""
        now = self.clock()
        for exchange in tuple(self._exchanges.values()):
            exchange.end_if_idle(now, self.services.limits.udp_idle_timeout)
        self._denied = {k: at for k, at in self._denied.items() if at > now}

    def stop(self) -> None:
        """End all exchanges."""
        for exchange in tuple(self._exchanges.values()):
            exchange.end()

    def _receive(self, key: Key, target: Endpoint, payload: bytes) -> None:
        """Take the first datagram of an exchange."""
        source, port = key[0]
        devbox = self.services.registry.at(source)
        if devbox is None:
            return
        client = (ip_address(source), port)
        exchange = self._begin(devbox, key, client, target)
        if exchange is None:
            self.datagrams.prohibit(client, target)
        else:
            exchange.send(payload)

    def _begin(
        self, devbox: AttachedDevbox, key: Key, client: Endpoint, target: Endpoint
    ) -> Exchange | None:
        """Judge a new exchange; None when it is denied."""
        now = self.clock()
        flow = with_host_fact(self.services, Flow(target[1], Transport.UDP, target[0]))
        decision, name = self._judge(devbox, flow)
        if not decision.allowed:
            # A client that repeats itself within a second makes one record.
            if self._denied.get(key, 0.0) <= now:
                if len(self._denied) >= _MAX_DENIED:
                    self._denied.clear()
                self._denied[key] = now + _DENIED_MEMORY
                self._open(devbox, decision, flow, name).close()
            return None
        if name is not None:
            # What is looked up counts, not the address the devbox used.
            facts = Flow(flow.port, Transport.UDP, name=name)
        else:
            facts = self._known(devbox, flow)
        record = self._open(devbox, decision, flow, name)

        def forget() -> None:
            self._running[devbox] -= 1
            if not self._running[devbox]:
                del self._running[devbox]
            # Another may have taken its place.
            if self._exchanges.get(key) is exchange:
                del self._exchanges[key]

        parts = (self.services, self.datagrams, self.clock)
        exchange = Exchange(parts, devbox, client, target, record, facts, forget)
        self._exchanges[key] = exchange
        self._running[devbox] += 1
        self._tasks.start(exchange.connect(name))
        return exchange

    @staticmethod
    def _known(devbox: AttachedDevbox, flow: Flow) -> Flow:
        """*flow* with the name DNS gave for its address: a later policy may allow it."""
        names = devbox.lookups.names(flow.address) if flow.address else ()
        if not names or flow.port == QUIC_PORT:
            return flow
        return flow._replace(name=names[0])

    def _judge(
        self, devbox: AttachedDevbox, flow: Flow
    ) -> tuple[Decision, Hostname | None]:
        """The decision about a new exchange, and the name it was allowed or denied by."""
        assert flow.address is not None  # noqa: S101 - the destination of a datagram
        if self._running[devbox] >= self.services.limits.udp_flows:
            return deny(Reason.TOO_MANY_FLOWS), None
        decision = devbox.decide(flow)
        sunk = is_sinkhole(flow.address)
        if not sunk and (
            decision.allowed or decision.reason is not Reason.ADDRESS_NOT_ALLOWED
        ):
            return decision, None
        names = candidates(devbox, flow.address, flow.port)
        if names and flow.port == QUIC_PORT:
            return deny(Reason.QUIC), names[0]
        if names:
            named = Flow(flow.port, Transport.UDP, name=names[0])
            return devbox.decide(named), names[0]
        denied = devbox.sinkhole.name_of(flow.address)
        if denied is not None:
            return deny(Reason.HOSTNAME_NOT_ALLOWED), denied
        return deny(Reason.ADDRESS_NOT_ALLOWED), None

    def _open(
        self,
        devbox: AttachedDevbox,
        decision: Decision,
        flow: Flow,
        name: Hostname | None,
    ) -> OpenFlow:
        shown = name
        if shown is None and flow.address is not None:
            shown = next(iter(devbox.lookups.names(flow.address)), None)
        return self.services.log.open(
            devbox.subject,
            Kind.UDP,
            decision,
            name=str(shown) if shown else None,
            address=str(flow.address),
            port=flow.port,
        )
