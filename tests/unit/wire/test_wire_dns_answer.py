"""DNS answers of resolvers: only what the question leads to counts."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address
from itertools import pairwise

import pytest

from stockade.errors import WireError
from stockade.wire.dns import (
    MAX_ADDRESSES,
    MAX_CHAIN,
    Answer,
    Rcode,
    Record,
    parse_answer,
)
from stockade.wire.dns_answer import UnrelatedMessage

ID = 7
A, CNAME, SOA, TXT, AAAA = 1, 5, 6, 16, 28
FOUR, SIX = IPv4Address("192.0.2.1"), IPv6Address("2001:db8::1")


def name(text: str) -> bytes:
    labels = text.split(".") if text else []
    return b"".join(bytes([len(x)]) + x.encode("latin-1") for x in labels) + b"\0"


def record(
    owner: bytes | str, rtype: int, data: bytes, *, ttl: int = 60, rclass: int = 1
) -> bytes:
    head = name(owner) if isinstance(owner, str) else owner
    return head + struct.pack("!HHIH", rtype, rclass, ttl, len(data)) + data


def a(
    owner: bytes | str = "a.test", address: IPv4Address = FOUR, *, ttl: int = 60
) -> bytes:
    return record(owner, A, address.packed, ttl=ttl)


def cname(owner: str, target: str, *, ttl: int = 60) -> bytes:
    return record(owner, CNAME, name(target), ttl=ttl)


def soa(ttl: int, minimum: int) -> bytes:
    return record(
        "test", SOA, b"\0\0" + struct.pack("!5I", 1, 2, 3, 4, minimum), ttl=ttl
    )


def answer(
    *records: bytes,
    question: bytes = b"\1a\4test\0\0\1\0\1",
    flags: int = 0x8180,
    message_id: int = ID,
    questions: int = 1,
    authority: tuple[bytes, ...] = (),
    extra: bytes = b"",
) -> bytes:
    counts = (questions, len(records), len(authority), 0)
    head = struct.pack("!6H", message_id, flags, *counts)
    return head + question + b"".join(records + authority) + extra


def parsed(data: bytes, asked: str = "a.test", qtype: int = A) -> Answer:
    return parse_answer(data, message_id=ID, name=asked, qtype=qtype)


def test_addresses_are_read_in_their_order() -> None:
    other = IPv4Address("192.0.2.2")
    found = parsed(answer(a(ttl=30), a(b"\xc0\x0c", other, ttl=20)))
    assert found.records == (
        Record("a.test", A, 30, FOUR),
        Record("a.test", A, 20, other),
    )
    assert found.addresses == (FOUR, other)
    assert (found.rcode, found.ttl, found.truncated) == (Rcode.NOERROR, 20, False)


def test_addresses_of_the_other_family_are_read_when_asked_for() -> None:
    question = b"\1a\4test\0\0\x1c\0\1"
    data = answer(a(), record("a.test", AAAA, SIX.packed), question=question)
    assert parsed(data, qtype=AAAA).addresses == (SIX,)


def test_a_chain_is_followed_in_whatever_order_it_comes() -> None:
    found = parsed(
        answer(a("c.test"), cname("b.test", "C.test", ttl=9), cname("a.test", "b.test"))
    )
    assert found.records == (
        Record("a.test", CNAME, 60, "b.test"),
        Record("b.test", CNAME, 9, "c.test"),
        Record("c.test", A, 60, FOUR),
    )
    assert found.ttl == 9


@pytest.mark.parametrize(
    "records",
    [
        pytest.param([a("d.test")], id="another name"),
        pytest.param([a("x.a.test")], id="a name below"),
        pytest.param([a("test")], id="a name above"),
        pytest.param([cname("d.test", "a.test"), a("d.test")], id="a chain backwards"),
        pytest.param([cname("a.test", "b.test"), a("d.test")], id="beside the chain"),
        pytest.param([record("a.test", A, FOUR.packed, rclass=3)], id="another class"),
        pytest.param([record("a.test", AAAA, SIX.packed)], id="another type"),
        pytest.param([record("a.test", TXT, b"\3abc")], id="text"),
        pytest.param(
            [record(b"\6a.test\0", A, FOUR.packed)], id="a dot inside a label"
        ),
        pytest.param([record(b"\7a\\046te\0", A, FOUR.packed)], id="an escape"),
    ],
)
def test_what_the_question_does_not_lead_to_does_not_count(records) -> None:
    assert parsed(answer(*records)).addresses == ()


def test_what_is_no_answer_does_not_count() -> None:
    assert parsed(answer(authority=(a(),))).addresses == ()
    assert parsed(answer(extra=a())).addresses == ()
    assert parsed(answer(a(), flags=0x8183)).addresses == ()


def test_the_first_of_two_chains_counts() -> None:
    data = answer(cname("a.test", "b.test"), cname("a.test", "d.test"), a("d.test"))
    assert parsed(data).addresses == ()


@pytest.mark.parametrize(
    ("records", "authority", "flags", "ttl"),
    [
        pytest.param([], (soa(300, 60),), 0x8183, 60, id="the minimum of the zone"),
        pytest.param([], (soa(30, 60),), 0x8180, 30, id="the time of the record"),
        pytest.param([], (), 0x8183, 0, id="no SOA"),
        pytest.param([], (record("test", TXT, b"\0"),), 0x8180, 0, id="another record"),
        pytest.param(
            [], (record("test", SOA, b"\0\0\0"),), 0x8180, 0, id="a short SOA"
        ),
        pytest.param(
            [cname("a.test", "b.test", ttl=5)], (soa(300, 60),), 0x8180, 5, id="a chain"
        ),
        pytest.param([a(ttl=2**31)], (), 0x8180, 0, id="a negative number"),
        pytest.param([], (soa(300, 2**31),), 0x8180, 0, id="a negative minimum"),
    ],
)
def test_an_answer_holds_as_long_as_it_says(records, authority, flags, ttl) -> None:
    assert parsed(answer(*records, authority=authority, flags=flags)).ttl == ttl


@pytest.mark.parametrize(
    ("flags", "rcode"),
    [(0x8182, Rcode.SERVFAIL), (0x8185, Rcode.REFUSED), (0x8189, Rcode.SERVFAIL)],
)
def test_a_failure_is_told(flags, rcode) -> None:
    assert parsed(answer(flags=flags)) == Answer(rcode, (), 0, truncated=False)


def test_a_truncated_answer_says_nothing_else() -> None:
    found = parsed(answer(a(), flags=0x8380)[:-3])
    assert found == Answer(Rcode.NOERROR, (), 0, truncated=True)


def test_a_question_that_is_compared_octet_by_octet() -> None:
    question = b"\1A\4tEst\0\0\1\0\1"
    assert parsed(answer(a(b"\xc0\x0c"), question=question), "A.tEst").addresses == (
        FOUR,
    )
    for asked in ("a.test", "A.test"):
        with pytest.raises(WireError):
            parsed(answer(a(b"\xc0\x0c"), question=question), asked)


def chain(links: int) -> list[bytes]:
    names = ["a.test", *(f"n{number}.test" for number in range(links))]
    return [*(cname(*pair) for pair in pairwise(names)), a(names[-1])]


def test_a_question_for_a_cname_ends_with_it() -> None:
    data = answer(cname("a.test", "a.test"), question=b"\1a\4test\0\0\5\0\1")
    assert parsed(data, qtype=CNAME).records == (Record("a.test", CNAME, 60, "a.test"),)


def test_the_limits_themselves_are_allowed() -> None:
    assert parsed(answer(*chain(MAX_CHAIN))).addresses == (FOUR,)
    many = [a(address=IPv4Address(number)) for number in range(MAX_ADDRESSES + 9)]
    assert len(parsed(answer(*many)).addresses) == MAX_ADDRESSES


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(answer(a())[:11], id="half a header"),
        pytest.param(answer(a(), message_id=8), id="another id"),
        pytest.param(answer(a(), flags=0x0100), id="a question"),
        pytest.param(answer(a(), flags=0xA980), id="an answer to an update"),
        pytest.param(answer(a(), questions=0), id="no question"),
        pytest.param(answer(a(), questions=2), id="two questions"),
        pytest.param(answer(a(), question=b"\1d\4test\0\0\1\0\1"), id="another name"),
        pytest.param(answer(a(), question=b"\1a\4test\0\0\x1c\0\1"), id="another type"),
        pytest.param(answer(a(), question=b"\1a\4test\0\0\1\0\3"), id="another class"),
    ],
)
def test_what_may_be_forged_is_told_apart(data) -> None:
    with pytest.raises(UnrelatedMessage):
        parsed(data)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(answer(a())[:-1], id="half an address"),
        pytest.param(answer(a())[:-8], id="half a record"),
        pytest.param(answer(a())[:30], id="half a name"),
        pytest.param(answer(authority=(soa(1, 1)[:-1],)), id="half an authority"),
        pytest.param(
            answer(record("a.test", A, bytes(5))), id="an address of 5 octets"
        ),
        pytest.param(
            answer(record("a.test", CNAME, b"\1b\0\0")), id="octets after the target"
        ),
        pytest.param(answer(record("a.test", CNAME, b"\5b")), id="a target too long"),
        pytest.param(answer(a(b"\xc0\x00")), id="a pointer into the header"),
        pytest.param(answer(a(b"\xc0\x17")), id="a pointer to itself"),
        pytest.param(answer(a(b"\1x\xc0\x17")), id="a pointer to its own name"),
        pytest.param(answer(a(b"\xc0\xff")), id="a pointer ahead"),
        pytest.param(answer(a(b"\xff\xff")), id="a pointer past the end"),
        pytest.param(answer(a(b"\x80a\0")), id="a label of an unknown kind"),
        pytest.param(answer(a(b"\x3f" * 256 + b"\0")), id="a name of 257 octets"),
        pytest.param(answer(*chain(MAX_CHAIN + 1)), id="a chain too long"),
        pytest.param(
            answer(cname("a.test", "b.test"), cname("b.test", "a.test")), id="a loop"
        ),
        pytest.param(answer(cname("a.test", "a.test")), id="a loop of one"),
        pytest.param(answer(*[a()] * 257), id="too many records"),
    ],
)
def test_a_doubt_is_an_error(data) -> None:
    with pytest.raises(WireError):
        parsed(data)


@pytest.mark.parametrize(
    "asked", ["x" * 64, "a..test", "\u0100.test", "x." * 127 + "yz"]
)
def test_what_is_no_name_cannot_be_asked_for(asked) -> None:
    with pytest.raises(WireError):
        parsed(answer(a()), asked)
