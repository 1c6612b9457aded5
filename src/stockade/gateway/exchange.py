"""The datagrams between one port of a devbox and one destination."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable

from stockade.gateway.devboxes import AttachedDevbox
from stockade.gateway.dialing import Barred, vetted_flows
from stockade.gateway.flowlog import OpenFlow
from stockade.gateway.resolver import ResolveError
from stockade.gateway.services import Services
from stockade.gateway.sockets import Datagrams, Endpoint
from stockade.names import Hostname
from stockade.policy.decide import Decision, Flow
from stockade.policy.model import Transport

_MAX_DATAGRAM = 65_535
_MAX_WAITING = 16
# In a turn of the devbox: its other sockets wait meanwhile.
_BATCH = 4

#: What exchanges share: the services, how to answer a devbox, and a clock.
Parts = tuple[Services, Datagrams, Callable[[], float]]


class Exchange:
    """The datagrams between one port of a devbox and one destination."""

    def __init__(
        self,
        parts: Parts,
        devbox: AttachedDevbox,
        client: Endpoint,
        target: Endpoint,
        record: OpenFlow,
        facts: Flow,
        on_end: Callable[[], None],
    ) -> None:
        self._services, self._datagrams, self._clock = parts
        self._devbox = devbox
        self._on_end = on_end
        self._client = client
        self._target = target
        self._record = record
        self._facts = facts
        self._socket: socket.socket | None = None
        self._waiting: list[bytes] = []
        self._up = 0
        self._down = 0
        self._used = self._clock()
        devbox.flows.add(self)

    async def connect(self, name: Hostname | None) -> None:
        """Find where to send, and send what came meanwhile."""
        client, target = self._client, self._target
        address = target[0]
        try:
            if name is not None:
                flow = Flow(target[1], Transport.UDP)
                self._facts, *_ = await vetted_flows(
                    self._services, self._devbox, name, flow, address
                )
                assert self._facts.address is not None  # noqa: S101 - it was vetted
                address = self._facts.address
        except Barred as barred:
            self.end(cut=barred.decision)
            self._datagrams.prohibit(client, target)
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
            self._devbox.events.watch(
                self._socket.fileno(), select.EPOLLIN, self._answered
            )
        except OSError as error:
            self.end(error=str(error))
            return
        for payload in self._waiting:
            self.send(payload)
        self._waiting.clear()

    def send(self, payload: bytes) -> None:
        """Forward a datagram of the devbox; some wait until it is clear where to."""
        self._used = self._clock()
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
        """Close the socket and complete the record. A second call does nothing."""
        if self not in self._devbox.flows:
            return
        self._devbox.flows.discard(self)
        self._on_end()
        if self._socket is not None:
            self._devbox.events.forget(self._socket.fileno())
            self._socket.close()
            self._socket = None
        self._record.close(
            bytes_up=self._up, bytes_down=self._down, error=error, cut=cut
        )

    def _answered(self, _: int) -> None:
        client, target = self._client, self._target
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
            self._used = self._clock()
            self._down += len(payload)
            self._datagrams.send(target, client, payload)

    def _failed(self, error: OSError) -> None:
        client, target = self._client, self._target
        if isinstance(error, ConnectionRefusedError):
            self._datagrams.unreachable(client, target)
        self.end(error=str(error))
