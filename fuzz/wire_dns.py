"""DNS messages: questions of devboxes and answers of resolvers, beside dnspython."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address, ip_address

import dns.exception
import dns.flags
import dns.message

from fuzz.target import Finding, Target, expect, is_due
from stockade.errors import WireError
from stockade.wire.dns import (
    MAX_ADDRESSES,
    MAX_CHAIN,
    DnsQueryError,
    QType,
    Query,
    Rcode,
    Record,
    parse_answer,
    parse_query,
    render_query,
    render_response,
)

_HEADER = 12
_RECORDS = (
    Record("alias.test", QType.CNAME, 60, "b.test"),
    Record("b.test", QType.A, 60, IPv4Address("203.0.113.9")),
    Record("b.test", QType.AAAA, 2**31 - 1, IPv6Address("2001:db8::9")),
)
_EDE = (15, "stockade: d.test is not reachable under network policy npol_1")

_ASKED = "Alias.test"
_ID = 0x1234
# Without the OPT record, which is no part of an answer's question.
_QUESTIONS = {
    qtype: render_query(_ID, _ASKED, qtype)[:-11] for qtype in (QType.A, QType.AAAA)
}
_COMPARED = 4  # one message in so many: dnspython takes most of the time


def name_of(name: dns.name.Name) -> str:
    """As it is written here: in lower case, the root as nothing."""
    return name.to_text(omit_final_dot=True).lower().removesuffix(".")


def check_query(data: bytes) -> None:
    """A question is refused in one way, or dnspython reads the same; so is our answer."""
    try:
        query = parse_query(data)
    except DnsQueryError:
        return
    if not is_due(data, _COMPARED):
        return
    # Options are not looked at here, and dnspython refuses some.
    bare = data[:10] + b"\0\0" + data[12 : _HEADER + len(query.question.raw)]
    try:
        theirs = dns.message.from_wire(bare)
    except dns.exception.DNSException as error:
        raise Finding(f"dnspython cannot read a question we accept: {error}") from None
    same_question(query, theirs)
    expect(theirs.opcode() == 0, "an opcode")
    expect(not theirs.flags & dns.flags.QR, "an answer taken for a question")
    records = _RECORDS[: len(data) % 4]
    response = render_response(query, rcode=Rcode.NOERROR, records=records, ede=_EDE)
    check_response(query, response, query.udp_payload)


def same_question(ours: Query, theirs: dns.message.Message) -> None:
    """Compare the one question of a message."""
    expect(len(theirs.question) == 1, "questions", len(theirs.question))
    question = theirs.question[0]
    expect(ours.message_id == theirs.id, "id")
    expect(ours.question.name == name_of(question.name), "name", ours.question.name)
    expect(ours.question.qtype == question.rdtype, "type", ours.question.qtype)
    expect(ours.question.qclass == question.rdclass, "class", ours.question.qclass)


def check_response(query: Query, response: bytes, limit: int) -> dns.message.Message:
    """An answer that dnspython reads, to this question, of this size at most."""
    expect_answer(query, response, limit)
    try:
        message = dns.message.from_wire(response)
    except dns.exception.DNSException as error:
        raise Finding(f"dnspython cannot read our answer: {error}") from None
    same_question(query, message)
    return message


def expect_answer(query: Query, response: bytes, limit: int) -> None:
    """What costs nothing to see of an answer: size, id, flag and question."""
    expect(len(response) <= limit, "an answer beyond its limit", len(response), limit)
    expect(response[:2] == query.message_id.to_bytes(2, "big"), "id", response)
    expect(response[2] & 0x80, "an answer without its flag", response)
    raw = response[_HEADER : _HEADER + len(query.question.raw)]
    expect(raw == query.question.raw, "the question is not repeated as it was")


def check_answer(data: bytes) -> None:
    """What follows a question we asked: read as dnspython does, or refused in one way.

    The first eight octets are flags and counts, the rest the sections after the question.
    """
    for qtype in (QType.A, QType.AAAA):
        _check_answer(data, qtype)
    if not is_due(data, _COMPARED):
        return
    try:
        parse_answer(data, message_id=_ID, name=_ASKED, qtype=QType.A)
    except WireError:
        pass


def _check_answer(data: bytes, qtype: QType) -> None:
    asked = _QUESTIONS[qtype]
    message = b"".join(
        (asked[:2], data[:2], asked[4:6], data[2:8], asked[_HEADER:], data[8:])
    )
    try:
        ours = parse_answer(message, message_id=_ID, name=_ASKED, qtype=qtype)
    except WireError:
        return
    addresses = ours.addresses
    expect(len(addresses) <= MAX_ADDRESSES, "addresses", len(addresses))
    expect(len(ours.records) - len(addresses) <= MAX_CHAIN, "chain", len(ours.records))
    version = 4 if qtype is QType.A else 6
    expect(all(a.version == version for a in addresses), "a wrong family")
    _expect_chain(ours.records)
    expect(all(0 <= r.ttl < 2**31 for r in ours.records), "a wrong TTL")
    if ours.truncated or ours.rcode is not Rcode.NOERROR or not addresses:
        return
    if not is_due(data, _COMPARED):
        return
    theirs = dnspython_addresses(message)
    if theirs is not None:
        expect(set(addresses) == theirs, "addresses differ", addresses, theirs)


def _expect_chain(records: tuple[Record, ...]) -> None:
    """Each record belongs to the name that the one before leads to."""
    name = _ASKED.lower()
    for record in records:
        expect(record.name == name, "a record of another name", record.name, name)
        if isinstance(record.data, str):
            name = record.data


def dnspython_addresses(message: bytes) -> set[IPv4Address | IPv6Address] | None:
    """What dnspython finds at the end of the chain. None where it has another rule."""
    try:
        read = dns.message.from_wire(message)
        if not isinstance(read, dns.message.QueryMessage):
            return None
        result = read.resolve_chaining()
    except (dns.exception.DNSException, ValueError):
        return None
    if sum(map(len, read.answer)) != struct.unpack_from("!H", message, 6)[0]:
        return None  # It folds equal records, and keeps the last of two CNAMEs.
    if result.answer is None or len(result.answer) > MAX_ADDRESSES:
        return None
    return {ip_address(rdata.address) for rdata in result.answer}


def _answer(flags: int, answers: int, authorities: int, rest: bytes) -> bytes:
    return struct.pack("!HHHH", flags, answers, authorities, 0) + rest


_POINTER = b"\xc0\x0c"
_A = b"\0\1\0\1\0\0\0\x3c\0\4\xcb\0\x71\x09"
_AAAA = b"\0\x1c\0\1\0\0\0\x3c\0\x10" + IPv6Address("2001:db8::9").packed
_CNAME = b"\0\5\0\1\0\0\0\x3c\0\2"
_TO_B = b"\0\5\0\1\0\0\0\x3c\0\4\1b\xc0\x12"
_SOA = b"\0\0\6\0\1\0\0\0\x3c\0\x16\0\0" + struct.pack("!5I", 1, 2, 3, 4, 5)

QUERY = Target(
    "dns_query",
    check_query,
    (
        render_query(7, "a.test", 1),
        render_query(7, "a.test", 28)[:-11].replace(b"\0\1\0\0\0\0\0\1", bytes(8)),
        render_query(0xFFFF, "_acme.x.w.test", 65),
        b"\0\7\1\0\0\1\0\0\0\0\0\0\1a\4test\0\0\1\0\1",
        b"\0\7\1\x10\0\1\0\0\0\0\0\0\1A\4TeSt\0\0\x1c\0\1",
        b"\0\7\1\0\0\1\0\0\0\0\0\1\1a\4test\0\0\1\0\1"
        b"\0\0\x29\x10\0\0\0\x80\0\0\x0c\0\x0a\0\x08" + bytes(8),
        render_query(7, ".".join(["a" * 63] * 3 + ["b" * 61]), 1),
        render_query(7, "", 255),
    ),
    (b"\0\1\0\1", b"\0\x1c\0\1", b"\0\0\x29", b"\xc0\x0c", b"\4test\0", b"\0\xff"),
    max_len=512,
)
ANSWER = Target(
    "dns_answer",
    check_answer,
    (
        _answer(0x8180, 1, 0, _POINTER + _A),
        _answer(0x8180, 1, 0, _POINTER + _AAAA),
        _answer(0x8180, 2, 0, _POINTER + _TO_B + b"\xc0\x28" + _A),
        _answer(0x8180, 2, 0, _POINTER + _TO_B + b"\1b\4test\0" + _AAAA),
        _answer(0x8180, 3, 0, _POINTER + _A + _POINTER + _A + b"\1x\xc0\x12" + _A),
        _answer(0x8183, 0, 1, _SOA),
        _answer(0x8182, 0, 0, b""),
        _answer(0x8380, 0, 0, b""),
        _answer(0x8180, 1, 1, _POINTER + _CNAME + _POINTER + _SOA),
        render_query(_ID, _ASKED, 1),
    ),
    (
        _POINTER,
        _A,
        _AAAA,
        _TO_B,
        _SOA,
        _CNAME,
        b"\xc0\x12",
        b"\xc0\x28",
        b"\1b\4test\0",
    ),
    max_len=512,
    cost=3,
)
