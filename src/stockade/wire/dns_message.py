"""What DNS messages are made of: codes, limits, and the values parsers return."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address

from stockade.errors import WireError

#: The datagram size that is offered, and the most that is sent: it is never fragmented.
UDP_PAYLOAD = 1_232

#: The class of everything on the Internet.
IN = 1

HEADER = struct.Struct("!HHHHHH")
TYPE_CLASS = struct.Struct("!HH")
RECORD = struct.Struct("!HHIH")  # after its name: type, class, TTL, size
OPT = struct.Struct("!BHHIH")  # a record of the root, as RFC 6891 bends it


# The second field of the header (RFC 1035 section 4.1.1). Plain numbers, since an IntFlag
# would double the time a question takes to read.
QR = 0x8000
OPCODE = 0x7800
TC = 0x0200
RD = 0x0100
RA = 0x0080
CD = 0x0010
RCODE = 0x000F


class QType(IntEnum):
    """The record types that have a name here."""

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
    """The response codes that are told apart (RFC 1035 section 4.1.1)."""

    NOERROR = 0
    FORMERR = 1
    SERVFAIL = 2
    NXDOMAIN = 3
    NOTIMP = 4
    REFUSED = 5


class DnsQueryError(WireError):
    """A message that is no question we answer. *rcode* None: do not even say so."""

    def __init__(self, message: str, rcode: Rcode | None, message_id: int = 0) -> None:
        self.rcode = rcode
        self.message_id = message_id
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked. *name* is in lower case; *raw* is the section as it was received."""

    name: str
    qtype: int
    qclass: int
    raw: bytes


@dataclass(frozen=True, slots=True)
class Query:
    """A question with what its answer has to repeat or respect."""

    message_id: int
    question: Question
    recursion_desired: bool
    checking_disabled: bool
    udp_payload: int
    edns: bool


@dataclass(frozen=True, slots=True)
class Record:
    """An address record, or a CNAME with its target."""

    name: str
    rtype: int
    ttl: int
    data: IPv4Address | IPv6Address | str


@dataclass(frozen=True, slots=True)
class Answer:
    """What a resolver said: the CNAME chain in order, then the addresses at its end.

    *ttl* is how long it holds; of a negative answer, what its SOA says, or 0.
    """

    rcode: Rcode
    records: tuple[Record, ...]
    ttl: int
    truncated: bool

    @property
    def addresses(self) -> tuple[IPv4Address | IPv6Address, ...]:
        """The addresses the question leads to."""
        return tuple(r.data for r in self.records if not isinstance(r.data, str))
