"""DNS messages: questions of devboxes, and answers to them.

RFC 1035; RFC 6891 (EDNS), RFC 8914 (extended errors). Nothing of a devbox's message goes
further than what `Question` holds: the question to a resolver is written anew, and so is
the answer to the devbox. This module is what the gateway imports of DNS.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from stockade.errors import WireError
from stockade.wire.dns_answer import MAX_ADDRESSES, MAX_CHAIN, parse_answer
from stockade.wire.dns_message import (
    CD,
    HEADER,
    IN,
    OPCODE,
    OPT,
    QR,
    RA,
    RD,
    RECORD,
    TC,
    TYPE_CLASS,
    UDP_PAYLOAD,
    Answer,
    DnsQueryError,
    QType,
    Query,
    Question,
    Rcode,
    Record,
)
from stockade.wire.dns_names import encode_name, read_plain_name

__all__ = [
    "MAX_ADDRESSES",
    "MAX_CHAIN",
    "UDP_PAYLOAD",
    "Answer",
    "DnsQueryError",
    "QType",
    "Query",
    "Question",
    "Rcode",
    "Record",
    "parse_answer",
    "parse_query",
    "render_query",
    "render_response",
]

_MIN_PAYLOAD = 512  # RFC 6891 section 6.2.3: less is read as this
_EXTENDED_ERROR = 15
_POINTER = 0xC000
_MAX_POINTER = 0x3FFF


def parse_query(data: bytes) -> Query:
    """Read a whole message as one question. Raises `DnsQueryError`.

    One question, of class IN, and nothing else but an OPT record, whose options are
    ignored (RFC 1035 section 4.1, RFC 6891 section 6.1). Limits: a name of 255 octets, one
    more record. This is the fast path of every lookup, hence no `Cursor`.
    """
    if len(data) < HEADER.size:
        raise DnsQueryError("a DNS message of less than 12 octets", None)
    message_id, flags = TYPE_CLASS.unpack_from(data)
    if flags & QR:
        raise DnsQueryError("a DNS answer where a question is due", None, message_id)
    if flags & OPCODE:
        opcode = (flags & OPCODE) >> 11
        raise DnsQueryError(f"DNS opcode {opcode}", Rcode.NOTIMP, message_id)
    try:
        question, payload = _read_question(data)
    except WireError as error:
        raise DnsQueryError(str(error), Rcode.FORMERR, message_id) from None
    except (struct.error, IndexError):
        message = "a DNS question that ends too early"
        raise DnsQueryError(message, Rcode.FORMERR, message_id) from None
    if question.qclass != IN:
        message = f"DNS class {question.qclass}"
        raise DnsQueryError(message, Rcode.REFUSED, message_id)
    return Query(
        message_id,
        question,
        flags & RD != 0,
        flags & CD != 0,
        payload or _MIN_PAYLOAD,
        payload > 0,
    )


def _read_question(data: bytes) -> tuple[Question, int]:
    """The question, and the datagram size an OPT record offers, or 0 without one."""
    _, _, questions, answers, authorities, extra = HEADER.unpack_from(data)
    if questions != 1 or answers or authorities or extra > 1:
        raise WireError("a DNS message with other than one question and one OPT")
    name, at = read_plain_name(data, HEADER.size)
    qtype, qclass = TYPE_CLASS.unpack_from(data, at)
    at += TYPE_CLASS.size
    raw = data[HEADER.size : at]
    payload = 0
    if extra:
        payload, at = _read_opt(data, at)
    if at != len(data):
        raise WireError("octets after the end of a DNS message, or too few")
    return Question(name, qtype, qclass, raw), payload


def _read_opt(data: bytes, at: int) -> tuple[int, int]:
    """The datagram size a client takes, and where its OPT record ends."""
    root, rtype, payload, extended, size = OPT.unpack_from(data, at)
    # The second octet of the four is the EDNS version, of which there is one.
    if root or rtype != QType.OPT or extended & 0xFF0000:
        raise WireError("an additional record that is no OPT record of version 0")
    return min(max(payload, _MIN_PAYLOAD), UDP_PAYLOAD), at + OPT.size + size


def render_query(message_id: int, name: str, qtype: int) -> bytes:
    """Write a question for a resolver, *name* in the very case given, without options."""
    return b"".join(
        (
            HEADER.pack(message_id, RD, 1, 0, 0, 1),
            encode_name(name),
            TYPE_CLASS.pack(qtype, IN),
            OPT.pack(0, QType.OPT, UDP_PAYLOAD, 0, 0),
        )
    )


def render_response(
    query: Query,
    *,
    rcode: Rcode,
    records: Sequence[Record] = (),
    ede: tuple[int, str] | None = None,
    max_size: int | None = None,
) -> bytes:
    """Write the answer to *query*, *records* in their order and with their TTLs.

    *ede* is an extended error for clients that know EDNS: a code and a sentence. What is
    too large goes without the sentence, then, marked as truncated, without the records.
    *max_size* None is what the client takes in a datagram.
    """
    limit = query.udp_payload if max_size is None else max_size
    body = _render_records(query.question, records)
    opt = _render_opt(query, ede)
    size = HEADER.size + len(query.question.raw) + len(body) + len(opt)
    if ede is not None and size > limit:
        bare = _render_opt(query, None)
        size += len(bare) - len(opt)
        opt = bare
    flags = QR | RA | rcode
    if query.recursion_desired:
        flags |= RD
    if query.checking_disabled:
        flags |= CD
    count = len(records)
    if size > limit:
        flags |= TC
        body, count = b"", 0
    header = HEADER.pack(query.message_id, flags, 1, count, 0, 1 if opt else 0)
    return b"".join((header, query.question.raw, body, opt))


def _render_records(question: Question, records: Sequence[Record]) -> bytes:
    """Write records, each name once: where it comes again, a pointer leads to it."""
    known = {question.name: HEADER.size}
    out = bytearray()
    start = HEADER.size + len(question.raw)
    for record in records:
        out += _render_name(record.name, known, start + len(out))
        if isinstance(record.data, str):
            at = start + len(out) + RECORD.size
            data = _render_name(record.data, known, at)
        else:
            data = record.data.packed
        out += RECORD.pack(record.rtype, IN, record.ttl, len(data))
        out += data
    return bytes(out)


def _render_name(name: str, known: dict[str, int], at: int) -> bytes:
    place = known.get(name)
    if place is not None:
        return (_POINTER | place).to_bytes(2, "big")
    if at <= _MAX_POINTER:
        known[name] = at
    return encode_name(name)


def _render_opt(query: Query, ede: tuple[int, str] | None) -> bytes:
    """Write the OPT record a client gets if it sent one (RFC 6891 section 6.1.1)."""
    if not query.edns:
        return b""
    options = b""
    if ede is not None:
        code, text = ede
        error = code.to_bytes(2, "big") + text.encode()
        options = TYPE_CLASS.pack(_EXTENDED_ERROR, len(error)) + error
    return OPT.pack(0, QType.OPT, UDP_PAYLOAD, 0, len(options)) + options
