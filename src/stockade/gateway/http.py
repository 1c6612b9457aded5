"""The request direction of a plain HTTP/1 connection, which stays parsed.

Several hosts often share one address, so a verified first request says nothing about
the next one: every request on the connection is checked before a byte of it is
forwarded. The response direction needs no eyes and is spliced. The one way to end the
parsing is a `101` that answers the first request of the connection; a later request
that asks for an upgrade is forwarded without asking, since a response can be told apart
only by counting them all.
"""

from __future__ import annotations

from stockade.errors import HostnameError, WireError
from stockade.gateway.devboxes import AttachedDevbox
from stockade.gateway.flowlog import Subject
from stockade.gateway.relay import Relay
from stockade.gateway.sides import Side
from stockade.names import Hostname
from stockade.policy.decide import Decision, Flow, Reason, deny
from stockade.wire.http1 import (
    MAX_HEAD,
    Event,
    Framing,
    HeadEvent,
    RequestHead,
    RequestStream,
    rewrite_without_upgrade,
)

_READ = 65_536
_SWITCHING_PROTOCOLS = 101
_INTERIM = (100, 102, 103)
_STATUS = slice(9, 12)


class Refused(Exception):
    """A request of the connection may not be forwarded."""

    def __init__(self, decision: Decision, name: str | None) -> None:
        self.decision = decision
        self.name = name
        super().__init__(str(decision.reason))


def judge_head(
    devbox: AttachedDevbox, head: RequestHead, port: int
) -> tuple[Hostname | None, Decision]:
    """The name a request is for, and whether it may be asked."""
    if head.method == "CONNECT":
        return None, deny(Reason.HTTP_CONNECT)
    try:
        name = Hostname.parse(head.host)
    except HostnameError:
        return None, deny(Reason.ADDRESS_NOT_ALLOWED)
    return name, devbox.decide(Flow(port, name=name))


class RequestRelay:
    """Forwards the requests of one connection to the upstream of its first one."""

    def __init__(
        self,
        devbox: AttachedDevbox,
        name: Hostname,
        port: int,
        client: Side,
        upstream: Side,
        relay: Relay,
    ) -> None:
        self._devbox = devbox
        self._name = name
        self._port = port
        self._client = client
        self._upstream = upstream
        self._relay = relay
        self._stream = RequestStream()
        self._requests = 0
        self._checked: tuple[str, bool, Subject] | None = None

    async def run(self, data: bytes) -> None:
        """Forward *data* and all that follows, until the client ends.

        Raises `Refused` at the first request that may not be forwarded, `OSError` when
        a side is gone.
        """
        while True:
            upgraded = await self._forward(data)
            if upgraded:
                return
            data = await self._client.receive(_READ)
            if not data:
                self._relay.end_up()
                return

    async def _forward(self, data: bytes) -> bool:
        """Forward what *data* completes; whether the connection is opaque from here on."""
        events = self._receive(data)
        while events:
            for index, event in enumerate(events):
                if not isinstance(event, HeadEvent):
                    await self._relay.send(event.raw)
                elif await self._forward_head(event):
                    rest = b"".join(later.raw for later in events[index + 1 :])
                    await self._relay.send(rest + self._stream.unread)
                    self._relay.start_up()
                    return True
            # What cannot be read is told after what could be, by a call of its own.
            events = self._receive(b"")
        return False

    def _receive(self, data: bytes) -> list[Event]:
        try:
            return self._stream.receive(data)
        except WireError:
            raise Refused(deny(Reason.HTTP_UNPARSEABLE), self._name.text) from None

    async def _forward_head(self, event: HeadEvent) -> bool:
        """Forward a request head; whether the upstream agreed to an upgrade."""
        self._requests += 1
        self._check(event.head)
        asks = event.head.upgrade
        # The answer would be waited for while the server waits for the body.
        has_body = event.head.framing is not Framing.NONE
        if asks is None:
            await self._relay.send(event.raw)
        elif (
            # Others, h2c and TLS among them, could carry other names out of sight.
            asks != "websocket"
            or self._requests > 1
            or self._relay.bytes_down
            or has_body
        ):
            await self._relay.send(rewrite_without_upgrade(event.raw))
        else:
            return await self._upgrade(event.raw)
        return False

    def _check(self, head: RequestHead) -> None:
        checked = (head.host, head.method == "CONNECT", self._devbox.subject)
        if checked == self._checked:
            return  # As the request before, under the same policy.
        name, decision = judge_head(self._devbox, head, self._port)
        if decision.allowed and name != self._name:
            decision = deny(Reason.HTTP_HOST_MISMATCH)
        if not decision.allowed:
            raise Refused(decision, head.host)
        self._checked = checked

    async def _upgrade(self, head: bytes) -> bool:
        """Forward a request for an upgrade and see what the upstream says to it."""
        self._relay.down.stop()
        await self._relay.send(head)
        response = b""
        while True:
            chunk = await self._upstream.receive(_READ)
            response += chunk
            status = _status(response)
            while status in _INTERIM:
                end = response.index(b"\r\n\r\n") + 4
                await self._relay.receive(response[:end])
                response = response[end:]
                status = _status(response)
            if status is not None or not chunk or len(response) > MAX_HEAD:
                await self._relay.receive(response)
                self._relay.down.start()
                return status == _SWITCHING_PROTOCOLS


def _status(response: bytes) -> int | None:
    """The status code of a complete response head, 0 for what is no HTTP/1 response."""
    if b"\r\n\r\n" not in response:
        return None
    code = response[_STATUS]
    if not response.startswith(b"HTTP/1.") or not code.isdigit():
        return 0
    return int(code)
