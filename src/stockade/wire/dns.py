"""DNS messages (RFC 1035, RFC 6891, RFC 8914): questions of devboxes, answers of resolvers."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address

from stockade.errors import WireError

MAX_CHAIN = 8
MAX_ADDRESSES = 64
UDP_PAYLOAD = 1_232

_HEADER = struct.Struct("!HHHHHH")
_IN = 1
_MAX_RECORDS = 256
_ALLOWED = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")


class QType(IntEnum):
    A = 1
    NS = 2
    CNAME = 5
    SOA = 6
    PTR = 12
    MX = 15
    TXT = 16
    AAAA = 28
    SRV = 33
    OPT = 41
    SVCB = 64
    HTTPS = 65
    ANY = 255


class Rcode(IntEnum):
    NOERROR = 0
    FORMERR = 1
    SERVFAIL = 2
    NXDOMAIN = 3
    NOTIMP = 4
    REFUSED = 5


class DnsQueryError(WireError):
    def __init__(self, message: str, rcode: Rcode | None, message_id: int = 0) -> None:
        self.rcode = rcode
        self.message_id = message_id
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Question:
    name: str
    qtype: int
    qclass: int
    raw: bytes


@dataclass(frozen=True, slots=True)
class Query:
    message_id: int
    question: Question
    recursion_desired: bool
    checking_disabled: bool
    udp_payload: int
    edns: bool


@dataclass(frozen=True, slots=True)
class Record:
    name: str
    rtype: int
    ttl: int
    data: IPv4Address | IPv6Address | str


@dataclass(frozen=True, slots=True)
class Answer:
    rcode: Rcode
    records: tuple[Record, ...]
    ttl: int
    truncated: bool

    @property
    def addresses(self) -> tuple[IPv4Address | IPv6Address, ...]:
        return tuple(r.data for r in self.records if not isinstance(r.data, str))


def parse_query(data: bytes) -> Query:
    if len(data) < 12:
        raise DnsQueryError("short", None)
    mid, flags, qd, an, ns, ar = _HEADER.unpack_from(data)
    if flags & 0x8000:
        raise DnsQueryError("a response", None, mid)
    if flags & 0x7800:
        raise DnsQueryError("opcode", Rcode.NOTIMP, mid)
    if qd != 1 or an or ns or ar > 2:
        raise DnsQueryError("counts", Rcode.FORMERR, mid)
    try:
        name, at = _plain_name(data, 12)
        qtype, qclass = struct.unpack_from("!HH", data, at)
        at += 4
        raw = data[12:at]
        edns, payload = False, 512
        for _ in range(ar):
            if data[at] != 0:
                raise WireError("additional record")
            rtype, size, _, rdlen = struct.unpack_from("!HHIH", data, at + 1)
            at += 11 + rdlen
            if rtype != QType.OPT or edns or at > len(data):
                raise WireError("additional record")
            edns, payload = True, min(max(size, 512), UDP_PAYLOAD)
        if at != len(data):
            raise WireError("trailing")
    except (WireError, struct.error, IndexError) as e:
        raise DnsQueryError(str(e), Rcode.FORMERR, mid) from None
    if qclass != _IN:
        raise DnsQueryError("class", Rcode.REFUSED, mid)
    return Query(mid, Question(name, qtype, qclass, raw), bool(flags & 0x100), bool(flags & 0x10), payload, edns)


def _plain_name(data: bytes, at: int) -> tuple[str, int]:
    labels: list[str] = []
    total = 0
    while True:
        n = data[at]
        at += 1
        if n == 0:
            return ".".join(labels).lower(), at
        if n > 63:
            raise WireError("pointer in a question")
        label = data[at : at + n]
        total += n + 1
        if len(label) != n or total > 254 or not _ALLOWED.issuperset(label):
            raise WireError("label")
        labels.append(label.decode("ascii"))
        at += n


def _encode_name(name: str) -> bytes:
    out = b""
    for label in name.split(".") if name else ():
        raw = label.encode("ascii")
        out += bytes((len(raw),)) + raw
    return out + b"\0"


def render_query(message_id: int, name: str, qtype: int) -> bytes:
    return (_HEADER.pack(message_id, 0x0100, 1, 0, 0, 1) + _encode_name(name) + struct.pack("!HH", qtype, _IN)
            + b"\0" + struct.pack("!HHIH", QType.OPT, UDP_PAYLOAD, 0, 0))


def _name(data: bytes, at: int) -> tuple[str, int]:
    labels: list[str] = []
    end = -1
    jumps = 0
    total = 0
    while True:
        if at >= len(data):
            raise WireError("name past the end")
        n = data[at]
        if n & 0xC0 == 0xC0:
            if at + 1 >= len(data) or jumps > 32:
                raise WireError("pointer")
            if end < 0:
                end = at + 2
            target = (n & 0x3F) << 8 | data[at + 1]
            if target >= at:
                raise WireError("forward pointer")
            at = target
            jumps += 1
            continue
        if n > 63:
            raise WireError("label type")
        at += 1
        if n == 0:
            return ".".join(labels).lower(), (end if end >= 0 else at)
        label = data[at : at + n]
        total += n + 1
        if len(label) != n or total > 254:
            raise WireError("label")
        labels.append("".join(chr(c) if c in _ALLOWED else f"\\{c:03d}" for c in label))
        at += n


def parse_answer(data: bytes, *, message_id: int, name: str, qtype: int) -> Answer:
    if len(data) < 12:
        raise WireError("short")
    mid, flags, qd, an, ns, ar = _HEADER.unpack_from(data)
    question = _encode_name(name) + struct.pack("!HH", qtype, _IN)
    if mid != message_id or not flags & 0x8000 or flags & 0x7800 or qd != 1:
        raise WireError("not an answer to this question")
    if data[12 : 12 + len(question)] != question:
        raise WireError("an answer to another question")
    try:
        rcode = Rcode(flags & 15)
    except ValueError:
        raise WireError("rcode") from None
    if flags & 0x200:
        return Answer(rcode, (), 0, truncated=True)
    if an + ns > _MAX_RECORDS:
        raise WireError("too many records")
    at = 12 + len(question)
    cnames: dict[str, Record] = {}
    found: dict[str, list[Record]] = {}
    negative = 0
    try:
        for index in range(an + ns):
            owner, at = _name(data, at)
            rtype, rclass, ttl, size = struct.unpack_from("!HHIH", data, at)
            at += 10
            rdata = data[at : at + size]
            if len(rdata) != size:
                raise WireError("record past the end")
            ttl = 0 if ttl & 0x80000000 else ttl
            if rclass == _IN and index < an:
                if rtype == QType.CNAME:
                    target, end = _name(data, at)
                    if end != at + size:
                        raise WireError("cname")
                    cnames.setdefault(owner, Record(owner, rtype, ttl, target))
                elif rtype == qtype == QType.A and size == 4:
                    found.setdefault(owner, []).append(Record(owner, rtype, ttl, IPv4Address(rdata)))
                elif rtype == qtype == QType.AAAA and size == 16:
                    found.setdefault(owner, []).append(Record(owner, rtype, ttl, IPv6Address(rdata)))
            elif rclass == _IN and rtype == QType.SOA and size >= 20:
                negative = min(ttl, struct.unpack("!I", rdata[-4:])[0])
            at += size
    except (struct.error, IndexError) as e:
        raise WireError(str(e)) from None
    chain: list[Record] = []
    here = name.lower()
    while here in cnames and here not in found:
        record = cnames[here]
        chain.append(record)
        if len(chain) > MAX_CHAIN:
            raise WireError("CNAME chain too long")
        here = str(record.data)
    addresses = found.get(here, [])[:MAX_ADDRESSES]
    records = tuple(chain + addresses)
    ttl = min(r.ttl for r in records) if addresses else negative
    return Answer(rcode, records, ttl, truncated=False)


def render_response(query: Query, *, rcode: Rcode, records: Sequence[Record] = (), ede: tuple[int, str] | None = None,
                    max_size: int | None = None) -> bytes:
    limit = query.udp_payload if max_size is None else max_size
    raw = query.question.raw
    body = b""
    qname = query.question.name
    for record in records:
        owner = b"\xc0\x0c" if record.name == qname else _encode_name(record.name)
        data = _encode_name(record.data) if isinstance(record.data, str) else record.data.packed
        body += owner + struct.pack("!HHIH", record.rtype, _IN, record.ttl, len(data)) + data
    opt = b""
    if query.edns:
        options = b""
        if ede is not None:
            text = ede[1].encode("utf-8")
            options = struct.pack("!HHH", 15, 2 + len(text), ede[0]) + text
        opt = b"\0" + struct.pack("!HHIH", QType.OPT, UDP_PAYLOAD, 0, len(options)) + options
    flags = 0x8080 | (0x100 if query.recursion_desired else 0) | (0x10 if query.checking_disabled else 0) | rcode
    message = _HEADER.pack(query.message_id, flags, 1, len(records), 0, bool(opt)) + raw + body + opt
    if len(message) <= limit:
        return message
    return _HEADER.pack(query.message_id, flags | 0x200, 1, 0, 0, 0) + raw
