"""Relays datagrams: one exchange per devbox port and destination port.

An exchange is judged when its first datagram comes, by address or by the name a lookup
of the devbox gives for it; the gateway then sends to where that name points, and
answers in the name of the address the devbox used. What is denied is answered with an
ICMP error.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from ipaddress import ip_address

from stockade.gateway.devboxes import AttachedDevbox
from stockade.gateway.dialing import Barred, vetted_flows, with_host_fact
from stockade.gateway.flowlog import Kind, OpenFlow
from stockade.gateway.judging import candidates
from stockade.gateway.listening import TaskKeeper
from stockade.gateway.resolver import ResolveError
from stockade.gateway.services import Services
from stockade.gateway.sinkhole import is_sinkhole
from stockade.gateway.sockets import Datagrams, Endpoint, original_destination
from stockade.names import Hostname
from stockade.policy.decide import Decision, Flow, Reason, deny
from stockade.policy.model import Transport

QUIC_PORT = 443

_BATCH = 64
_MAX_DATAGRAM = 65_535
_MAX_WAITING = 16
_DENIED_MEMORY = 1.0


class Exchange:
    """The datagrams between one port of a devbox and one destination."""

    def __init__(
        self,
        service: UdpService,
        devbox: AttachedDevbox,
        client: Endpoint,
        target: Endpoint,
        record: OpenFlow,
        facts: Flow,
    ) -> None:
        self._service = service
        self._devbox = devbox
        self.key = (client, target)
        self._record = record
        self._facts = facts
        self._socket: socket.socket | None = None
        self._waiting: list[bytes] = []
        self._up = 0
        self._down = 0
        self._used = service.clock()
        devbox.flows.add(self)

    async def connect(self, name: Hostname | None) -> None:
        """Find where to send, and send what came meanwhile."""
        client, target = self.key
        address = target[0]
        try:
            if name is not None:
                flow = Flow(target[1], Transport.UDP)
                self._facts, *_ = await vetted_flows(
                    self._service.services, self._devbox, name, flow, address
                )
                assert self._facts.address is not None  # noqa: S101 - it was vetted
                address = self._facts.address
        except Barred as barred:
            self.end(cut=barred.decision)
            self._service.datagrams.prohibit(client, target)
            return
        except ResolveError as error:
            self.end(error=str(error))
            return
        if self not in self._devbox.flows:
            return
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        try:
            self._socket = socket.socket(
                family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK
            )
            self._socket.connect((str(address), target[1]))
        except OSError as error:
            self.end(error=str(error))
            return
        asyncio.get_running_loop().add_reader(self._socket.fileno(), self._answered)
        for payload in self._waiting:
            self.send(payload)
        self._waiting.clear()

    def send(self, payload: bytes) -> None:
        """Forward a datagram of the devbox; some wait until it is clear where to."""
        self._used = self._service.clock()
        if self._socket is None:
            if len(self._waiting) < _MAX_WAITING:
                self._waiting.append(payload)
            return
        try:
            self._socket.send(payload)
            self._up += len(payload)
        except BlockingIOError:
            pass  # A full queue drops datagrams, as everywhere.
        except OSError as error:
            self._failed(error)

    def recheck(self) -> bool:
        """End the exchange if the policy in force does not allow it any more."""
        decision = self._devbox.decide(self._facts)
        if decision.allowed:
            return False
        self.end(cut=decision, error=self._devbox.end_of_flow)
        return True

    def abort(self) -> None:
        """End the exchange."""
        self.end()

    def end_if_idle(self, now: float, limit: float) -> None:
        """End the exchange when nothing has passed for *limit* seconds."""
        if now - self._used > limit:
            self.end()

    def end(self, *, error: str | None = None, cut: Decision | None = None) -> None:
        """Close the socket and complete the record."""
        self._devbox.flows.discard(self)
        self._service.forget(self)
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket.fileno())
            self._socket.close()
            self._socket = None
        self._record.close(
            bytes_up=self._up, bytes_down=self._down, error=error, cut=cut
        )

    def _answered(self) -> None:
        client, target = self.key
        for _ in range(_BATCH):
            if self._socket is None:
                return
            try:
                payload = self._socket.recv(_MAX_DATAGRAM)
            except BlockingIOError:
                return
            except OSError as error:
                self._failed(error)
                return
            self._used = self._service.clock()
            self._down += len(payload)
            self._service.datagrams.send(target, client, payload)

    def _failed(self, error: OSError) -> None:
        client, target = self.key
        if isinstance(error, ConnectionRefusedError):
            self._service.datagrams.unreachable(client, target)
        self.end(error=str(error))


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
        self._exchanges: dict[tuple[Endpoint, Endpoint], Exchange] = {}
        self._denied: dict[tuple[Endpoint, Endpoint], float] = {}

    def serve(self, sock: socket.socket) -> None:
        """Relay what comes in on *sock*, one of the gateway's transparent sockets."""

        def read() -> None:
            for _ in range(_BATCH):
                try:
                    payload, ancillary, _, source = sock.recvmsg(_MAX_DATAGRAM, 256)
                except OSError:
                    return
                target = original_destination(ancillary)
                if target is not None:
                    self._receive((ip_address(source[0]), source[1]), target, payload)

        asyncio.get_running_loop().add_reader(sock.fileno(), read)

    def end_idle(self) -> None:
        """End the exchanges in which nothing has passed for too long."""
        now = self.clock()
        for exchange in tuple(self._exchanges.values()):
            exchange.end_if_idle(now, self.services.limits.udp_idle_timeout)
        self._denied = {k: at for k, at in self._denied.items() if at > now}

    def forget(self, exchange: Exchange) -> None:
        """Drop an exchange that has ended; another may have taken its place."""
        if self._exchanges.get(exchange.key) is exchange:
            del self._exchanges[exchange.key]

    def stop(self) -> None:
        """End all exchanges."""
        for exchange in tuple(self._exchanges.values()):
            exchange.end()

    def _receive(self, client: Endpoint, target: Endpoint, payload: bytes) -> None:
        exchange = self._exchanges.get((client, target))
        if exchange is None:
            devbox = self.services.registry.at(str(client[0]))
            if devbox is None:
                return
            exchange = self._begin(devbox, client, target)
            if exchange is None:
                self.datagrams.prohibit(client, target)
                return
        exchange.send(payload)

    def _begin(
        self, devbox: AttachedDevbox, client: Endpoint, target: Endpoint
    ) -> Exchange | None:
        """Judge a new exchange; None when it is denied."""
        key = (client, target)
        now = self.clock()
        flow = with_host_fact(self.services, Flow(target[1], Transport.UDP, target[0]))
        decision, name = self._judge(devbox, flow)
        if not decision.allowed:
            # A client that repeats itself within a second makes one record.
            if self._denied.get(key, 0.0) <= now:
                self._denied[key] = now + _DENIED_MEMORY
                self._open(devbox, decision, flow, name).close()
            return None
        if name is not None:
            # What is looked up counts, not the address the devbox used.
            facts = Flow(flow.port, Transport.UDP, name=name)
        else:
            facts = self._known(devbox, flow)
        record = self._open(devbox, decision, flow, name)
        exchange = Exchange(self, devbox, client, target, record, facts)
        self._exchanges[key] = exchange
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
        running = sum(isinstance(other, Exchange) for other in devbox.flows)
        if running >= self.services.limits.udp_flows:
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
