"""Answers of resolvers: what a question leads to, and nothing else."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address

from stockade.errors import WireError
from stockade.wire.dns_message import (
    HEADER,
    IN,
    OPCODE,
    QR,
    RCODE,
    RECORD,
    TC,
    TYPE_CLASS,
    Answer,
    QType,
    Rcode,
    Record,
)
from stockade.wire.dns_names import encode_name, read_name

#: The most CNAMEs followed from a question to its addresses.
MAX_CHAIN = 8
#: The most addresses taken from one answer; the rest is ignored.
MAX_ADDRESSES = 64
#: The most records in the answer and authority sections of a message that is read.
MAX_RECORDS = 256

_MAX_TTL = 0x7FFFFFFF
_MIN_SOA = 22  # two names of one octet, five numbers

_Chain = dict[str, Record]
_Addresses = dict[str, list[Record]]


class UnrelatedMessage(WireError):
    """A message that is no answer to the question asked: maybe forged, so wait on."""


def parse_answer(data: bytes, *, message_id: int, name: str, qtype: int) -> Answer:
    """Read a whole message as the answer to the question that was asked.

    `UnrelatedMessage` unless id and question are the same, the name in the same case:
    whoever forges an answer has to guess all that. The additional section is not read.
    Limits: `MAX_RECORDS` records, of which `MAX_CHAIN` CNAMEs and `MAX_ADDRESSES` count.
    """
    if len(data) < HEADER.size:
        raise UnrelatedMessage("a DNS message of less than 12 octets")
    found_id, flags, questions, answers, authorities, _ = HEADER.unpack_from(data)
    asked = encode_name(name) + TYPE_CLASS.pack(qtype, IN)
    is_answer = flags & (QR | OPCODE) == QR
    if not is_answer or found_id != message_id or questions != 1:
        raise UnrelatedMessage("not an answer, or one to another question")
    if not data.startswith(asked, HEADER.size):
        raise UnrelatedMessage("an answer to another question")
    code = flags & RCODE
    # Codes of dynamic updates and the like: the resolver failed, in a way of its own.
    rcode = Rcode(code) if code <= Rcode.REFUSED else Rcode.SERVFAIL
    if flags & TC:
        return Answer(rcode, (), 0, truncated=True)
    if answers + authorities > MAX_RECORDS:
        raise WireError(f"a DNS answer of {answers + authorities} records")
    at = HEADER.size + len(asked)
    try:
        known = {HEADER.size: name.lower()}
        cnames, addresses, at = _read_answers(data, at, answers, qtype, known)
        negative = _negative_ttl(data, at, authorities, known)
    except (struct.error, IndexError):
        raise WireError("a DNS answer that ends too early") from None
    chain, end = _follow(cnames, addresses, name.lower(), qtype)
    found = addresses.get(end, [])[:MAX_ADDRESSES] if rcode is Rcode.NOERROR else []
    ttls = [record.ttl for record in (*chain, *found)]
    if not found:
        ttls.append(negative)
    return Answer(rcode, (*chain, *found), min(ttls), truncated=False)


def _read_answers(
    data: bytes, at: int, count: int, qtype: int, known: dict[int, str]
) -> tuple[_Chain, _Addresses, int]:
    """The CNAMEs and the addresses of the answer section, by owner, and its end.

    Of several CNAMEs for one name, which is no valid zone, the first counts.
    """
    cnames: _Chain = {}
    addresses: _Addresses = {}
    for _ in range(count):
        owner, at = read_name(data, at, known)
        rtype, rclass, ttl, size = RECORD.unpack_from(data, at)
        at += RECORD.size
        end = at + size
        if end > len(data):
            raise WireError("a DNS record that ends too early")
        ttl = ttl if ttl <= _MAX_TTL else 0  # RFC 2181 section 8
        if rclass == IN and rtype == QType.CNAME:
            target, stop = read_name(data, at, known)
            if stop != end:
                raise WireError("a CNAME of another size than its name")
            cnames.setdefault(owner, Record(owner, rtype, ttl, target))
        elif rclass == IN and rtype == qtype and rtype in (QType.A, QType.AAAA):
            address = _address(data[at:end], rtype)
            addresses.setdefault(owner, []).append(Record(owner, rtype, ttl, address))
        at = end
    return cnames, addresses, at


def _address(data: bytes, rtype: int) -> IPv4Address | IPv6Address:
    if len(data) != (4 if rtype == QType.A else 16):
        raise WireError(f"an address of {len(data)} octets")
    return IPv4Address(data) if rtype == QType.A else IPv6Address(data)


def _negative_ttl(data: bytes, at: int, count: int, known: dict[int, str]) -> int:
    """How long a name or type may be taken not to exist (RFC 2308 section 5)."""
    found: list[int] = []
    for _ in range(count):
        _, at = read_name(data, at, known)
        rtype, rclass, ttl, size = RECORD.unpack_from(data, at)
        at += RECORD.size + size
        if at > len(data):
            raise WireError("a DNS record that ends too early")
        if rclass == IN and rtype == QType.SOA and size >= _MIN_SOA:
            minimum = int.from_bytes(data[at - 4 : at], "big")
            found += [limit if limit <= _MAX_TTL else 0 for limit in (ttl, minimum)]
    return min(found, default=0)


def _follow(
    cnames: _Chain, addresses: _Addresses, name: str, qtype: int
) -> tuple[list[Record], str]:
    """The CNAMEs from *name* on, and the name at their end."""
    chain: list[Record] = []
    while name not in addresses and name in cnames:
        if len(chain) == MAX_CHAIN:
            raise WireError(
                f"a chain of more than {MAX_CHAIN} CNAMEs, or a loop of them"
            )
        record = cnames[name]
        chain.append(record)
        name = str(record.data)
        if qtype == QType.CNAME:
            break  # It is the answer itself.
    return chain, name
