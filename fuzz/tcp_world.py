"""All that is outside of the TCP service: a client, servers, resolvers, policies and time.

It gives the service sockets in memory, records what arrives at which upstream, and judges
that by what others read in it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any

from fuzz.memory import MemoryLoop, MemorySocket
from fuzz.oracles import MIN_HELLO, bare, openssl_name
from fuzz.target import expect, is_due
from fuzz.wire_sniff import http_hosts
from stockade.gateway.devboxes import AttachedDevbox, Registry
from stockade.gateway.flowlog import FlowLog, FlowRecord
from stockade.gateway.listening import TaskKeeper
from stockade.gateway.resolver import Resolved, ResolveError
from stockade.gateway.services import Services
from stockade.gateway.sides import Side
from stockade.gateway.tcp import TcpService
from stockade.names import Hostname
from stockade.policy.decide import CompiledPolicy
from stockade.policy.guardrails import Address, Guardrails
from stockade.policy.model import NetworkPolicy
from stockade.wire.dns import Answer, QType, Rcode, Record
from tests.unit.gateway import fakes

CLIENT = "100.127.0.3"
_CLIENT = ip_address(CLIENT)
_GUARDRAILS = Guardrails()
_QUESTIONS = fakes.generous()  # which no connection asks
#: Where the names point: all of them to one address they share, and to one of their own.
SHARED = ip_address("203.0.113.20")
ADDRESSES = {
    Hostname("a.test"): ip_address("203.0.113.10"),
    Hostname("b.test"): ip_address("203.0.113.11"),
    Hostname("x.w.test"): ip_address("203.0.113.12"),
    Hostname("p.w.test"): ip_address("10.0.0.9"),  # which no policy here opens
}
_RANGE, _OPEN = ip_network("203.0.113.16/28"), range(22, 5433)
_CIDR = {"cidr": str(_RANGE), "ports": [{"port": _OPEN[0], "end_port": _OPEN[-1]}]}
_WITH_CIDR = 4
POLICIES = tuple(
    (push, CompiledPolicy(push.policy))
    for push in (
        fakes.push("a.test *.w.test"),
        fakes.push("a.test b.test"),
        fakes.push("b.test"),
        fakes.push(),
        fakes.push(fakes.policy("a.test", allowed_cidrs=[_CIDR])),
        fakes.push(fakes.policy(allow_all=True)),
    )
)
PORTS = (80, 443, 22, 5432)
TARGETS = tuple(
    map(str, (SHARED, *ADDRESSES.values(), "203.0.113.99", "100.126.0.1", "10.0.0.1"))
)
_PRIVATE = ip_network("10.0.0.0/8")
_ANSWERS = {
    (name, qtype): tuple(
        Record(name.text, qtype, 60, a)
        for a in ((address,) if address in _PRIVATE else (SHARED, address))
        if qtype is QType.A
    )
    for name, address in ADDRESSES.items()
    for qtype in (QType.A, QType.AAAA)
}
_DENIED = Hostname("d.test")
_COMPARED = 4
_SWITCHED = b"HTTP/1.1 101 "
_REWRITTEN = b"upgrade"  # an offer that the gateway may take out


@dataclass(slots=True)
class Upstream:
    """A connection the gateway dialled, and the name it was dialled for."""

    name: str
    sock: MemorySocket


@dataclass
class World:
    """All that is outside of the service, and what was seen of it."""

    loop: MemoryLoop
    address: str
    port: int
    policy: int
    slow: int
    client: MemorySocket = field(init=False)
    upstreams: list[Upstream] = field(default_factory=list)
    begun: dict[int, Upstream] = field(default_factory=dict)
    records: list[FlowRecord] = field(default_factory=list)
    resolved: str = ""
    is_over: bool = False
    said: bytes = b""
    served: bytes = b""

    def __post_init__(self) -> None:
        self.client = MemorySocket((self.address, self.port))
        self.loop.queue.sockets[self.client.fileno()] = self.client
        self.box = AttachedDevbox("dbx_1", (_CLIENT,), _GUARDRAILS, _QUESTIONS)
        self.box.events = self.loop.queue  # type: ignore[assignment]
        for name, address in ADDRESSES.items():
            self.box.lookups.record(name, SHARED)
            self.box.lookups.record(name, address)
        self.box.sinkhole.address_for(_DENIED)
        self.change_policy(self.policy)

    # What the gateway asks of the world.

    def cached(self, _name: Hostname, _qtype: int) -> None:
        return None

    async def resolve(self, name: Hostname, qtype: int) -> Resolved:
        if self.slow & 1:
            await asyncio.sleep(0.01)
        if name not in ADDRESSES or self.slow & 2:
            raise ResolveError("no answer")
        self.resolved = name.text
        records = _ANSWERS[name, QType(qtype)]
        return Resolved(Answer(Rcode.NOERROR, records, 60, truncated=False), 1e9)

    def begin(self, address: Address, port: int, queue: Any) -> Side:
        name = self.resolved
        if not name:
            is_open = self.opens(address, port)
            expect(is_open, "an address dialled that no rule opens", address, port)
        sock = MemorySocket(on_send=lambda _: self._sends(name, address, port))
        self.loop.queue.sockets[sock.fileno()] = sock
        self.begun[sock.fileno()] = Upstream(name, sock)
        return Side(sock, queue)  # type: ignore[arg-type]

    async def is_connected(self, side: Side, _seconds: float) -> bool:
        upstream = self.begun.pop(side.sock.fileno())
        try:
            if self.slow & 4:
                await asyncio.sleep(0.01)
        except BaseException:
            side.close()
            raise
        if self.slow & 8:
            side.close()
            raise ConnectionRefusedError("nobody there")
        if self.is_over:
            upstream.sock.arrive_end()
        self.upstreams.append(upstream)
        return True

    async def dial(self, address: Address, port: int, queue: Any) -> Side:
        side = self.begin(address, port, queue)
        await self.is_connected(side, 1.0)
        return side

    def opens(self, address: Address, port: int) -> bool:
        """Whether the policy in force allows *address*, whatever the name."""
        by_cidr = self.policy == _WITH_CIDR and address in _RANGE and port in _OPEN
        return by_cidr or POLICIES[self.policy][1].allow_all

    def _sends(self, name: str, address: Address, port: int) -> None:
        compiled = POLICIES[self.policy][1]
        if self.opens(address, port):
            return
        if name:
            allowed = compiled.pattern_for(Hostname(name)) is not None
        else:  # A name that was seen there, and looked up, may be allowed instead.
            allowed = compiled.policy != NetworkPolicy(name="p")
        expect(allowed, "octets for a name that is not allowed", name)

    # What the world does.

    def change_policy(self, index: int) -> None:
        self.policy = index % len(POLICIES)
        self.box._push = None  # No generation comes after another here.
        self.box.apply(*POLICIES[self.policy])

    def client_says(self, data: bytes) -> None:
        self.said += data
        self.client.arrive(data)

    def server_says(self, data: bytes) -> None:
        if self.upstreams:
            self.served += data
            self.upstreams[-1].sock.arrive(data)

    def client_ends(self) -> None:
        self.client.arrive_end()

    def server_ends(self) -> None:
        for upstream in self.upstreams:
            upstream.sock.arrive_end()

    def end(self) -> None:
        """Let both ends come to an end, and the server's end of what is dialled later."""
        self.is_over = True
        self.take(is_full=False)
        self.client_ends()
        self.server_ends()

    def take(self, *, is_full: bool) -> None:
        """Let nobody take anything any more, or everybody again."""
        for sock in (self.client, *(upstream.sock for upstream in self.upstreams)):
            sock.is_full = is_full

    def wait(self) -> None:
        """Let as much time pass as a client has for its first bytes."""
        self.loop.hold(20.0)

    def look_for_idle(self) -> None:
        """Do what the gateway does every second, hours later."""
        self.service.end_idle()
        self.loop.hold(10_000.0)

    def client_resets(self) -> None:
        self.client.arrive_reset()

    def server_resets(self) -> None:
        if self.upstreams:
            self.upstreams[-1].sock.arrive_reset()

    async def live(self, steps: list[Callable[[], None]]) -> None:
        """Let a connection happen, from accept to close."""
        log = FlowLog(wall_clock=self.loop.time, clock=self.loop.time)
        log.subscribe(
            lambda record: self.records.append(record) if record.ended else None
        )
        services = Services(
            registry=Registry(),
            resolver=self,  # type: ignore[arg-type]
            dialer=self,
            uplink=fakes.FakeUplink(),
            log=log,
        )
        services.registry.attach(self.box)
        tasks = TaskKeeper()
        self.service = TcpService(services, tasks, self.loop.time)
        self.loop.steps.extend((*steps, self.client_ends, self.end))
        self.service._accepted(self.client, CLIENT)  # type: ignore[arg-type]
        await asyncio.gather(*tasks._tasks)
        await asyncio.sleep(0)

    # What must hold afterwards.

    def judge(self) -> None:
        expect(not self.box.flows, "a flow that has ended is kept")
        expect(not self.loop.queue.watched, "sockets are watched after the end")
        ended = [self.client, *(upstream.sock for upstream in self.upstreams)]
        expect(all(sock.is_closed for sock in ended), "a socket is left open")
        expect(len(self.records) in (1, 2), "records", len(self.records))
        for upstream in self.upstreams:
            whole = self.said.startswith(upstream.sock.sent)
            whole = whole or _REWRITTEN in self.said.lower()
            expect(whole, "other octets than the client said", upstream.sock.sent)
            if upstream.sock.sent and upstream.name:
                self._judge_sent(upstream.name, upstream.sock.sent)

    def _judge_sent(self, name: str, sent: bytes) -> None:
        """What others read in *sent* is for *name*."""
        due = len(sent) >= MIN_HELLO and is_due(sent, _COMPARED)
        if due and (named := openssl_name(sent)) is not None:
            expect(named[0] or self.port != 443, "TLS without a name", sent)
            expect(named[0] is None or _is(name, named[0]), "SNI", name, named)
        hosts = http_hosts(sent, every=_SWITCHED not in self.served)
        expect(all(_is(name, bare(host)) for host in hosts), "Host", name, hosts)


def _is(name: str, other: str) -> bool:
    return other.lower().removesuffix(".") == name
