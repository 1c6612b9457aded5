"""The resolver of the lab: answers from the zone table, lies where the table says
so."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Final

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdatatype
import dns.rrset

from tests.lab.addresses import v4
from tests.lab.record import Live
from tests.lab.zone import Behaviour, Name, find

_MAX_HOPS: Final = 32
_SOA: Final = "ns.test. hostmaster.test. 1 3600 600 86400 30"
_RCODES: Final[Mapping[Behaviour, dns.rcode.Rcode]] = {
    Behaviour.SERVFAIL: dns.rcode.SERVFAIL,
    Behaviour.REFUSED: dns.rcode.REFUSED,
    Behaviour.NXDOMAIN: dns.rcode.NXDOMAIN,
}


class DnsServer:
    """Turns questions into answers; *zone* may change at any time."""

    def __init__(self, zone: dict[str, Name]) -> None:
        self.zone = zone
        self._turn = itertools.count()

    def answer(self, data: bytes, live: Live, *, udp: bool) -> list[bytes]:
        """The messages to send for *data*: one, or none."""
        live.detail["transport"] = "udp" if udp else "tcp"
        live.received(data)
        try:
            query = dns.message.from_wire(data, ignore_trailing=True)
        except (dns.exception.DNSException, ValueError) as error:
            live.detail["error"] = str(error)
            live.close("eof")
            return []
        if not query.question:
            live.detail["error"] = "no question"
            live.close("eof")
            return []
        _note(query, live)
        behaviour, reply = self._reply(query)
        wire = _wire(query, reply, udp=udp)
        sent = _disguise(behaviour, query, wire, udp=udp)
        for message in sent:
            live.sent(len(message))
        live.close("eof")
        return sent

    def _reply(
        self, query: dns.message.Message
    ) -> tuple[Behaviour, dns.message.Message]:
        reply = dns.message.make_response(query, recursion_available=True)
        if query.opcode() != dns.opcode.QUERY:
            reply.set_rcode(dns.rcode.NOTIMP)
            return Behaviour.NORMAL, reply
        question = query.question[0]
        owner, behaviour = question.name, Behaviour.NORMAL
        for _ in range(_MAX_HOPS):
            entry = find(self.zone, owner.to_text())
            if entry is None:
                reply.set_rcode(dns.rcode.NXDOMAIN)
                break
            behaviour = entry.behaviour
            if entry.cname is None or question.rdtype == dns.rdatatype.CNAME:
                reply.set_rcode(_RCODES.get(behaviour, dns.rcode.NOERROR))
                self._fill(reply, owner, entry, question.rdtype)
                break
            target = dns.name.from_text(entry.cname)
            _add(reply, owner, entry.ttl, "CNAME", [target.to_text()])
            if any(rrset.name == target for rrset in reply.answer):
                break
            owner = target
        if not any(rrset.rdtype == question.rdtype for rrset in reply.answer):
            soa = dns.rrset.from_text("test.", 30, "IN", "SOA", _SOA)
            reply.authority.append(soa)
        return behaviour, reply

    def _fill(
        self,
        reply: dns.message.Message,
        owner: dns.name.Name,
        entry: Name,
        rdtype: dns.rdatatype.RdataType,
    ) -> None:
        if entry.behaviour in _RCODES:
            return
        texts = {
            dns.rdatatype.A: entry.a,
            dns.rdatatype.AAAA: entry.aaaa,
            dns.rdatatype.HTTPS: entry.https,
            dns.rdatatype.TXT: entry.txt,
            dns.rdatatype.CNAME: (entry.cname,) if entry.cname else (),
        }
        for kind, values in texts.items():
            if not values or rdtype not in (kind, dns.rdatatype.ANY):
                continue
            chosen = list(values)
            if entry.behaviour is Behaviour.ROTATE:
                chosen = [chosen[next(self._turn) % len(chosen)]]
            _add(reply, owner, entry.ttl, dns.rdatatype.to_text(kind), chosen)


def _add(
    reply: dns.message.Message,
    owner: dns.name.Name,
    ttl: int,
    kind: str,
    texts: list[str],
) -> None:
    reply.answer.append(dns.rrset.from_text_list(owner, ttl, "IN", kind, texts))


def _note(query: dns.message.Message, live: Live) -> None:
    question = query.question[0]
    live.name = question.name.to_text(omit_final_dot=True)
    live.detail.update(
        qtype=dns.rdatatype.to_text(question.rdtype),
        id=query.id,
        flags=dns.flags.to_text(query.flags),
        edns=query.edns,
        payload=query.payload,
        options=[
            [int(option.otype), option.to_wire().hex()] for option in query.options
        ],
    )


def _wire(
    query: dns.message.Message, reply: dns.message.Message, *, udp: bool
) -> bytes:
    if not udp:
        return reply.to_wire(max_size=65_535)
    size = query.payload if query.edns >= 0 else 512
    try:
        return reply.to_wire(max_size=max(size, 512))
    except dns.exception.TooBig:
        return _truncated(query)


def _truncated(query: dns.message.Message) -> bytes:
    reply = dns.message.make_response(query, recursion_available=True)
    reply.flags |= dns.flags.TC
    return reply.to_wire()


def _disguise(
    behaviour: Behaviour, query: dns.message.Message, wire: bytes, *, udp: bool
) -> list[bytes]:
    match behaviour:
        case Behaviour.DROP:
            return []
        case Behaviour.TCP_ONLY if udp:
            return [_truncated(query)]
        case Behaviour.WRONG_ID:
            return [((query.id + 1) & 0xFFFF).to_bytes(2, "big") + wire[2:]]
        case Behaviour.WRONG_QUESTION:
            other = dns.message.make_query("other.test", "A", id=query.id)
            lie = dns.message.make_response(other, recursion_available=True)
            _add(lie, other.question[0].name, 60, "A", [v4(66)])
            return [lie.to_wire()]
        case Behaviour.GARBAGE:
            return [wire[:2] + b"\xff" * 40]
        case _:
            return [wire]
