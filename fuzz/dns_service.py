"""The DNS service in process: who is asked for what, and what the devbox gets.

An input is two octets of circumstances and then messages as they come over TCP, each with
its length before it; one of no length is a change of policy. Only names that the policy
allows are asked of the resolver, and every answer is one to its question that dnspython can
read.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

import dns.exception
import dns.message

from fuzz.memory import MemoryLoop, MemorySocket
from fuzz.target import Finding, Target, chance, expect, is_due
from fuzz.wire_dns import QUERY, check_response, expect_answer
from stockade.gateway.devboxes import AttachedDevbox, Registry
from stockade.gateway.dns import TCP_MESSAGE, DnsAnswerer
from stockade.gateway.dns_service import DnsService
from stockade.gateway.flowlog import FlowLog
from stockade.gateway.resolver import Resolved, ResolveError
from stockade.gateway.services import Services
from stockade.gateway.sinkhole import is_sinkhole
from stockade.names import Hostname
from stockade.policy.guardrails import Guardrails
from stockade.policy.model import NetworkPolicy
from stockade.wire.dns import (
    Answer,
    DnsQueryError,
    QType,
    Query,
    Rcode,
    Record,
    parse_query,
)
from tests.unit.gateway import fakes

_BOX = (ip_address("100.127.0.3"),)
_GUARDRAILS = Guardrails()
_PRIVATE = ip_network("10.20.0.0/16")
_POLICIES = (
    (fakes.push("a.test *.w.test"), lambda n: n == "a.test" or n.endswith(".w.test")),
    (
        fakes.push(
            NetworkPolicy.from_mapping(
                {
                    "name": "p",
                    "allowed_hostnames": ["a.test"],
                    "allowed_cidrs": [{"cidr": str(_PRIVATE), "ports": [{"port": 5}]}],
                }
            )
        ),
        lambda n: n == "a.test",
    ),
    (fakes.push(NetworkPolicy(name="p", allow_all=True)), lambda _: True),
    (None, lambda _: False),
)
_COMPILED = tuple(
    fakes.devbox(push.policy if push else None).policy for push, _ in _POLICIES
)
MAX_MESSAGES = 6
_LOOP = MemoryLoop()
_UNUSED: Any = (None, None)  # what accepts connections, and what sends datagrams
_OPAQUE = 65_280  # a type that nobody reads anything into
_READ_ANEW = (
    4  # one answer in so many is read by dnspython, which takes most of the time
)
_WAYS = ("sinkhole", "nxdomain", "refused")
_FOUND = tuple(
    map(
        ip_address,
        "203.0.113.9 10.20.0.9 10.0.0.1 127.0.0.1 169.254.169.254 198.51.100.2"
        " 2001:db8::9 ::1 ::ffff:127.0.0.1 fd00::1".split(),
    )
)
_NEVER = tuple(
    map(ip_network, ("127.0.0.0/8", "169.254.0.0/16", "::1/128", "::ffff:0:0/96"))
)


@dataclass
class FakeResolver:
    """Gives addresses of all kinds by way of an alias; remembers who was asked for."""

    mode: int
    asked: list[str] = field(default_factory=list)

    def cached(self, _name: Hostname, _qtype: int) -> Resolved | None:
        return None

    async def resolve(self, name: Hostname, qtype: int) -> Resolved:
        self.asked.append(name.text)
        if self.mode == 1:
            raise ResolveError("no answer")
        alias = Record(name.text, QType.CNAME, 60, "alias.test")
        found = [a for a in _FOUND if fakes.is_of(a, qtype)]
        records = [Record("alias.test", qtype, 60, a) for a in found]
        records += records[:1] * (40 if self.mode == 2 else 0)
        rcode = Rcode.NXDOMAIN if self.mode == 3 else Rcode.NOERROR
        records = [] if self.mode == 3 else records
        return Resolved(Answer(rcode, (alias, *records), 60, truncated=False), 1e9)

    async def relay(self, name: Hostname, qtype: int) -> bytes:
        self.asked.append(name.text)
        if self.mode == 1:
            raise ResolveError("no answer")
        labels = b"".join(
            bytes((len(label),)) + label.encode() for label in name.text.split(".")
        )
        question = labels + b"\0" + struct.pack("!HH", qtype, 1)
        size = 2_000 if self.mode == 2 else 4
        record = b"\xc0\x0c" + struct.pack("!HHIH", _OPAQUE, 1, 60, size) + bytes(size)
        return struct.pack("!6H", 9, 0x8180, 1, 1, 0, 0) + question + record


def _services(resolver: FakeResolver, denied_answer: str) -> Services:
    return Services(
        registry=Registry(),
        resolver=resolver,  # type: ignore[arg-type]
        dialer=None,  # type: ignore[arg-type]
        uplink=fakes.FakeUplink(),
        log=FlowLog(wall_clock=_still, clock=_still),
        denied_answer=denied_answer,
    )


def _still() -> float:
    return 1_000.0


def check(data: bytes) -> None:
    """Ask all questions of an input, and judge each answer."""
    if len(data) < 2:
        return
    box = AttachedDevbox("dbx_1", _BOX, _GUARDRAILS, fakes.generous())
    policy = data[0] & 3
    covers = _put_in_force(box, policy)
    resolver = FakeResolver(data[0] >> 2 & 3)
    services = _services(resolver, _WAYS[data[1] % 3])
    answerer = DnsAnswerer(services, _still)
    if data[0] & 16:
        _converse(DnsService(services, answerer, *_UNUSED), box, data[2:])
        expect(all(map(covers, resolver.asked)), "a forbidden name was asked", data)
        return
    at = 2
    for _ in range(MAX_MESSAGES):
        size = int.from_bytes(data[at : at + 2], "big")
        message = data[at + 2 : at + 2 + size]
        at += 2 + size
        if not message:
            policy = (policy + 1) & 3
            covers = _put_in_force(box, policy)
            continue
        _ask(answerer, box, message)
        asked, resolver.asked = resolver.asked, []
        expect(all(map(covers, asked)), "a name that is not allowed was asked", asked)
        expect(len(asked) <= 1, "asked more than once", asked)
    services.log.flush_questions()


def _put_in_force(box: AttachedDevbox, policy: int) -> Callable[[str], bool]:
    """Change the policy; which names it means."""
    push, covers = _POLICIES[policy]
    if push is None:
        box.quarantine()
    else:
        box._push = None  # No generation comes after another here.
        box.apply(push, _COMPILED[policy])
    return covers


def _converse(service: DnsService, box: AttachedDevbox, said: bytes) -> None:
    """Ask over TCP: one answer to each question, in order, until one is no question."""
    _LOOP.begin()
    client = MemorySocket()
    middle = chance(said, len(said) + 1)
    client.arrive(said[:middle])
    client.arrive(said[middle:])
    client.arrive_end()
    _LOOP.run_until_complete(service._serve_stream(box, client))  # type: ignore[arg-type]
    expect(client.is_closed and not service._connections, "a connection is left")
    answers = _framed(client.sent)
    expect(sum(2 + len(answer) for answer in answers) == len(client.sent), "framing")
    for message in _framed(said):
        answer = answers.pop(0) if answers else None
        _judge(box, message, answer, TCP_MESSAGE)
        if answer is None:
            break
    expect(not answers, "more answers than questions", answers)


def _framed(stream: bytes) -> list[bytes]:
    """The whole messages of a stream."""
    messages: list[bytes] = []
    at = 0
    while at + 2 <= len(stream):
        end = at + 2 + int.from_bytes(stream[at : at + 2], "big")
        if end > len(stream):
            break
        messages.append(stream[at + 2 : end])
        at = end
    return messages


def _ask(answerer: DnsAnswerer, box: AttachedDevbox, message: bytes) -> None:
    """Ask by a datagram; equal questions must have equal answers."""
    ready = answerer.answer_at_once(box, message[2:])
    response = _finish(answerer, box, message)
    if ready is not None:
        expect(message[:2] + ready == response, "another answer at once", response)
    _judge(box, message, response, None)


def _judge(
    box: AttachedDevbox, message: bytes, response: bytes | None, limit: int | None
) -> None:
    """Judge one answer. Without a *limit* it is that of the client."""
    try:
        query = parse_query(message)
    except DnsQueryError as error:
        expect((response is None) is (error.rcode is None), "an answer to nothing")
        if response is not None:
            _expect_header_only(message, response)
        return
    if response is None:
        raise Finding("no answer to a question")
    limit = query.udp_payload if limit is None else limit
    expect_answer(query, response, limit)
    if not is_due(message, _READ_ANEW):
        return
    _check_given(box, query, check_response(query, response, limit))


def _finish(answerer: DnsAnswerer, box: AttachedDevbox, message: bytes) -> bytes | None:
    """Run the coroutine, which waits for nothing here."""
    work = answerer.answer(box, message)
    try:
        work.send(None)
    except StopIteration as done:
        answer: bytes | None = done.value
        return answer
    raise Finding("an answer that waits")


def _expect_header_only(message: bytes, response: bytes) -> None:
    expect(len(response) == 12, "an answer that repeats what cannot be read", response)
    expect(response[:2] == message[:2] and response[2] & 0x80, "header", response)
    try:
        dns.message.from_wire(response)
    except dns.exception.DNSException as error:
        raise Finding(f"dnspython cannot read a refusal: {error}") from None


def _check_given(
    box: AttachedDevbox, query: Query, message: dns.message.Message
) -> None:
    """No address is given that no policy opens; each one given is a lookup."""
    name = query.question.name
    for rrset in message.answer:
        for rdata in rrset:
            if not hasattr(rdata, "address") or query.question.qtype not in (1, 28):
                continue
            address: IPv4Address | IPv6Address = ip_address(rdata.address)
            if is_sinkhole(address):
                expect(
                    not box.lookups.names(address), "a lookup of a denied name", name
                )
                continue
            expect(not _is_barred(address), "a barred address", address)
            expect(Hostname(name) in box.lookups.names(address), "no lookup", name)


def _is_barred(address: IPv4Address | IPv6Address) -> bool:
    return any(address.version == n.version and address in n for n in _NEVER)


def _ask_all(circumstances: bytes, *messages: bytes) -> bytes:
    framed = (len(message).to_bytes(2, "big") + message for message in messages)
    return circumstances + b"".join(framed)


_OTHER = tuple(seed.replace(b"\1a\4test", b"\1d\4test") for seed in QUERY.seeds)

DNS = Target(
    "dns_service",
    check,
    tuple(
        _ask_all(bytes((index, index)), seed, _OTHER[index % 5], seed, b"", seed)
        for index, seed in enumerate(QUERY.seeds * 4)
    ),
    (*QUERY.words, b"\1a\4test\0", b"\1x\1w\4test\0", b"\1d\4test\0"),
    max_len=400,
    cost=20,
)
