"""One TCP connection of a devbox, from accept to close.

Where address and port decide (`allow_all`, a CIDR rule), the gateway dials the address
and relays. Otherwise the *name* decides: from the first bytes of the client (SNI,
Host), or, for protocols that carry none, from a lookup of this devbox; and the gateway
dials that name, never an address only the client vouches for. Where a lookup covers the
address, the dial starts at once and the server's bytes pass before the client has said
anything, so protocols in which the server speaks first wait for nothing; but not one
byte of the client is forwarded before it was read and judged.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace

from stockade.gateway import denials
from stockade.gateway.devboxes import AttachedDevbox
from stockade.gateway.dialing import Barred, dial_name, with_host_fact
from stockade.gateway.farewell import say_and_end
from stockade.gateway.first_bytes import FirstBytes, FirstBytesReader
from stockade.gateway.flowlog import Kind
from stockade.gateway.http import Refused, RequestRelay
from stockade.gateway.judging import SSH_PORT, Judged, candidates, judge, observe
from stockade.gateway.listening import TaskKeeper
from stockade.gateway.recording import ConnectionRecord, IdleWatch
from stockade.gateway.relay import Relay
from stockade.gateway.resolver import ResolveError
from stockade.gateway.services import Services
from stockade.gateway.sides import Side
from stockade.gateway.sinkhole import is_sinkhole
from stockade.names import Hostname
from stockade.policy.decide import Decision, Flow, Reason
from stockade.policy.guardrails import Address

_BY_NAME = frozenset((Reason.ADDRESS_NOT_ALLOWED, Reason.POLICY_UNAVAILABLE))


class Connection:
    """Serves one accepted socket. `run` never raises; it ends with everything closed."""

    def __init__(
        self,
        services: Services,
        devbox: AttachedDevbox,
        client: socket.socket,
        address: Address,
        port: int,
    ) -> None:
        self._services = services
        self._devbox = devbox
        self._client = Side(client, devbox.events)
        self._address = address
        self._port = port
        self._loop = devbox.events.loop
        self._task: asyncio.Task[None] | None = None
        self._upstream: Side | None = None
        self._relay: Relay | None = None
        self._facts: Flow | None = None
        self._record = ConnectionRecord(services.log, devbox, address, port)
        self._early_problem: Exception | None = None
        self._idle = IdleWatch(services.limits)
        self._has_begun = self._is_aborted = False
        devbox.flows.add(self)  # At once: others of the same batch are counted, too.

    def start(self, tasks: TaskKeeper) -> None:
        """Serve the connection in a task of its own."""
        self._task = tasks.start(self.run())

    async def run(self) -> None:
        """Serve the connection to its end."""
        self._has_begun, orderly = True, False
        try:
            if not self._is_aborted:
                await self._serve()
                orderly = True
        except (OSError, ResolveError) as error:
            self._record.failed(error)
        except asyncio.CancelledError:
            pass  # Cut by a policy, aborted, or the gateway stops.
        finally:
            self._devbox.flows.discard(self)
            self._close(orderly=orderly)

    def recheck(self) -> bool:
        """End the connection if the policy in force does not allow it any more."""
        if self._facts is None or self._record.cut is not None:
            return False
        decision = self._devbox.decide(self._facts)
        if decision.allowed:
            return False
        self._record.cut_by(decision)
        self.abort()
        return True

    def abort(self) -> None:
        """End the connection with a reset."""
        self._is_aborted = True
        # A task that is cancelled before it begins would not close what it holds.
        if self._task is not None and self._has_begun:
            self._task.cancel()

    def end_if_idle(self, now: float) -> None:
        """End the connection when nothing has passed for longer than the limits say."""
        problem = self._idle.problem(self._relay, now)
        if problem is not None:
            self._record.error = problem
            self.abort()

    async def _serve(self) -> None:
        flow = with_host_fact(self._services, Flow(self._port, address=self._address))
        decision = self._devbox.decide(flow)
        self._record.unclear = Judged(Kind.TCP, decision)
        if is_sinkhole(self._address):
            await self._serve_by_name(decision)
        elif decision.allowed:
            await self._serve_by_address(flow, decision)
        elif decision.reason in _BY_NAME:
            await self._serve_by_name(decision)
        else:
            await self._refuse(Judged(Kind.TCP, decision))

    async def _serve_by_address(self, flow: Flow, decision: Decision) -> None:
        names = self._devbox.lookups.names(self._address)
        self._facts = flow
        self._record.open(Judged(Kind.TCP, decision, names[0] if names else None))
        self._upstream = await self._services.dialer.dial(
            self._address, self._port, self._devbox.events
        )
        relay = self._start_relay()
        relay.start_up(self._observe)
        await relay.wait()

    def _observe(self) -> None:
        """Note what the client of a connection that is not judged by name says first."""
        if self._facts is not None:
            kind, fact, name = observe(self._client, self._devbox, self._address)
            self._facts = self._facts._replace(name=fact)
            self._record.describe(kind, name)

    async def _serve_by_name(self, base: Decision) -> None:
        names = candidates(self._devbox, self._address, self._port)
        reader = FirstBytesReader(
            self._client, self._services.limits, patient=bool(names)
        )
        first = reader.read_at_once()
        early: asyncio.Task[None] | None = None
        try:
            if first is None:
                self._record.unclear = self._judge(FirstBytes(b""), base)
                if names:
                    early = self._loop.create_task(self._dial_early(names[0]))
                elif self._port == SSH_PORT and is_sinkhole(self._address):
                    # An ssh client may wait for the server to say something first.
                    await self._refuse(self._record.unclear)
                    return
                first = await reader.read()
            judged = self._judge(first, base)
            if judged.decision.allowed:
                await self._serve_judged(judged, first, early, names)
            else:
                await self._refuse(judged)
        finally:
            if early is not None and not early.done():
                early.cancel()
                await asyncio.gather(early, return_exceptions=True)

    def _judge(self, first: FirstBytes, base: Decision) -> Judged:
        return judge(first, self._devbox, self._address, self._port, base)

    async def _dial_early(self, name: Hostname) -> None:
        """Dial *name*, since a lookup covers the address, and let the server speak."""
        self._facts = Flow(self._port, name=name)
        try:
            upstream = await self._dial(name)
        except (Barred, ResolveError) as problem:
            self._early_problem = problem
        except OSError as error:
            self._early_problem = error
            self._record.failed(error)
            self.abort()
        else:
            self._upstream = upstream
            self._start_relay()

    async def _dial(self, name: Hostname) -> Side:
        generation = self._devbox.subject
        upstream, facts = await dial_name(
            self._services, self._devbox, name, self._port, self._address
        )
        if self._devbox.subject is not generation:
            decision = self._devbox.decide(facts)
            if not decision.allowed:  # The policy changed while it was dialled.
                upstream.close()
                raise Barred(decision)
        self._facts = facts
        return upstream

    async def _serve_judged(
        self,
        judged: Judged,
        first: FirstBytes,
        early: asyncio.Task[None] | None,
        names: tuple[Hostname, ...],
    ) -> None:
        """Connect an allowed client to the name it was judged by."""
        name = judged.name
        assert name is not None  # noqa: S101 - an allowed judgement has a name
        try:
            if early is not None and names[0] == name:
                await early
                if isinstance(self._early_problem, Barred | ResolveError):
                    raise self._early_problem
            else:
                await self._drop_early(early)
                self._facts = Flow(self._port, name=name)
                self._upstream = await self._dial(name)
                self._start_relay()
        except Barred as barred:
            await self._refuse(replace(judged, decision=barred.decision))
            return
        except ResolveError:
            self._record.open(judged, self._facts)
            raise
        self._record.open(judged, self._facts)
        await self._relay_judged(judged, first)

    async def _relay_judged(self, judged: Judged, first: FirstBytes) -> None:
        relay, upstream, name = self._relay, self._upstream, judged.name
        assert relay is not None and upstream is not None and name is not None  # noqa: S101, PT018
        if judged.kind is Kind.HTTP:
            requests = RequestRelay(
                self._devbox, name, self._port, self._client, upstream, relay
            )
            try:
                await requests.run(first.data)
            except Refused as refused:
                await self._refuse_later(refused)
                return
        else:
            await relay.send(first.data)
            if first.eof:
                relay.end_up()
            else:
                relay.start_up()
        await relay.wait()

    async def _drop_early(self, early: asyncio.Task[None] | None) -> None:
        """Give up a connection that was dialled for another name than the one meant."""
        if early is not None:
            early.cancel()
            await asyncio.gather(early, return_exceptions=True)
        if self._relay is not None and self._relay.bytes_down:
            raise ConnectionAbortedError("the server of another name has spoken")
        self._drop_upstream()

    def _drop_upstream(self) -> None:
        if self._relay is not None:
            self._relay.stop()
            self._relay = None
        if self._upstream is not None:
            self._upstream.reset()
            self._upstream = None

    def _start_relay(self) -> Relay:
        assert self._upstream is not None  # noqa: S101 - the caller has just dialled it
        self._relay = Relay(self._services.pipes, self._client, self._upstream)
        self._relay.down.start()
        return self._relay

    async def _refuse(self, judged: Judged) -> None:
        """Record a denial and tell the client in its own protocol, if it has one."""
        relay = self._relay
        await self._end_denied(judged, speak=relay is None or not relay.bytes_down)

    async def _refuse_later(self, refused: Refused) -> None:
        """End a kept-alive HTTP connection at a request that may not be forwarded."""
        relay = self._relay
        self._record.close(relay)
        denied = Judged(Kind.HTTP, refused.decision, shown=refused.name)
        # In the middle of an answer, another one would only be part of it.
        await self._end_denied(denied, speak=relay is None or relay.down.is_idle)

    async def _end_denied(self, judged: Judged, *, speak: bool) -> None:
        self._facts = None
        self._record.deny(judged)
        self._drop_upstream()
        message = denials.message(judged, self._devbox)
        if not message or not speak:
            raise ConnectionRefusedError(str(judged.decision.reason))
        await say_and_end(self._client, message)

    def _close(self, *, orderly: bool) -> None:
        self._record.close(self._relay)
        if self._relay is not None:
            self._relay.stop()
        for side in (self._upstream, self._client):
            if side is not None:
                side.close() if orderly else side.reset()
