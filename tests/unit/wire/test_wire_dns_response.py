"""DNS answers to devboxes, as dnspython reads them."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from itertools import pairwise

import dns.edns
import dns.flags
import dns.message
import dns.rdatatype
import pytest

from stockade.wire.dns import (
    Answer,
    QType,
    Rcode,
    Record,
    parse_answer,
    parse_query,
    render_query,
    render_response,
)

FOUR, SIX = IPv4Address("192.0.2.1"), IPv6Address("2001:db8::1")
QUERY = parse_query(render_query(7, "A.tEst", QType.A))
PLAIN = replace(QUERY, edns=False, udp_payload=512)
CHAIN = (
    Record("a.test", QType.CNAME, 60, "b.cdn.test"),
    Record("b.cdn.test", QType.CNAME, 30, "c.cdn.test"),
    Record("c.cdn.test", QType.A, 20, FOUR),
    Record("c.cdn.test", QType.A, 20, IPv4Address("192.0.2.2")),
)


def many(count: int) -> list[Record]:
    return [
        Record("a.test", QType.A, 1, IPv4Address(number)) for number in range(count)
    ]


def test_an_answer_says_what_was_asked_and_found() -> None:
    found = dns.message.from_wire(
        render_response(QUERY, rcode=Rcode.NOERROR, records=CHAIN)
    )
    assert found.id == 7
    assert found.question[0].name.to_text() == "A.tEst."
    assert [line for rrset in found.answer for line in rrset.to_text().split("\n")] == [
        "A.tEst. 60 IN CNAME b.cdn.test.",
        "b.cdn.test. 30 IN CNAME c.cdn.test.",
        "c.cdn.test. 20 IN A 192.0.2.1",
        "c.cdn.test. 20 IN A 192.0.2.2",
    ]
    assert found.flags == dns.flags.QR | dns.flags.RD | dns.flags.RA


def test_a_name_is_written_once() -> None:
    response = render_response(QUERY, rcode=Rcode.NOERROR, records=CHAIN)
    assert response.count(b"\1b\3cdn\4test") == 1
    assert response.count(b"\1c\3cdn\4test") == 1
    assert response.lower().count(b"\1a\4test") == 1


def test_an_answer_is_what_a_stub_resolver_reads() -> None:
    response = render_response(QUERY, rcode=Rcode.NOERROR, records=CHAIN)
    found = parse_answer(response, message_id=7, name="A.tEst", qtype=QType.A)
    assert found == Answer(Rcode.NOERROR, CHAIN, 20, truncated=False)


def test_names_with_odd_octets_pass_through() -> None:
    target = "5\\0470\\046x.test"
    records = (
        Record("a.test", QType.CNAME, 1, target),
        Record(target, QType.A, 1, FOUR),
    )
    response = render_response(QUERY, rcode=Rcode.NOERROR, records=records)
    assert b"\x055/0.x\x04test" in response
    found = parse_answer(response, message_id=7, name="A.tEst", qtype=QType.A)
    assert found.records == records


@pytest.mark.parametrize("rcode", list(Rcode))
def test_the_code_and_the_flags_are_given_back(rcode) -> None:
    query = replace(QUERY, recursion_desired=False, checking_disabled=True)
    found = dns.message.from_wire(render_response(query, rcode=rcode))
    assert found.rcode() == rcode
    assert found.flags & ~0xF == dns.flags.QR | dns.flags.RA | dns.flags.CD


def test_a_denial_says_why() -> None:
    sink = Record("a.test", QType.AAAA, 1, SIX)
    response = render_response(
        QUERY, rcode=Rcode.NOERROR, records=[sink], ede=(15, "not allowed: \u00fc")
    )
    found = dns.message.from_wire(response)
    assert found.payload == 1_232
    assert found.options == (
        dns.edns.EDEOption(dns.edns.EDECode.BLOCKED, "not allowed: \u00fc"),
    )


def test_a_client_without_edns_gets_none() -> None:
    found = dns.message.from_wire(
        render_response(PLAIN, rcode=Rcode.NOERROR, ede=(15, "x"))
    )
    assert found.edns == -1
    assert found.additional == []


@pytest.mark.parametrize(
    ("query", "count", "max_size", "is_cut"),
    [
        pytest.param(QUERY, 70, None, False, id="what fits into a datagram"),
        pytest.param(QUERY, 80, None, True, id="what does not"),
        pytest.param(PLAIN, 30, None, False, id="what fits into a small datagram"),
        pytest.param(PLAIN, 31, None, True, id="what does not fit into that"),
        pytest.param(PLAIN, 300, 65_535, False, id="what fits into a stream"),
        pytest.param(QUERY, 1, 0, True, id="nothing fits"),
    ],
)
def test_what_is_too_large_is_cut(query, count, max_size, is_cut) -> None:
    response = render_response(
        query, rcode=Rcode.NOERROR, records=many(count), max_size=max_size
    )
    found = dns.message.from_wire(response)
    assert bool(found.flags & dns.flags.TC) is is_cut
    assert sum(map(len, found.answer)) == (0 if is_cut else count)
    assert (found.edns >= 0) is query.edns
    assert max_size == 0 or len(response) <= (max_size or query.udp_payload)


def test_the_sentence_goes_before_the_records_do() -> None:
    response = render_response(
        QUERY, rcode=Rcode.NOERROR, records=many(60), ede=(15, "x" * 400)
    )
    found = dns.message.from_wire(response)
    assert sum(map(len, found.answer)) == 60
    assert found.options == ()


def test_a_name_beyond_the_reach_of_pointers_is_written_again() -> None:
    names = [f"n{number}." + "x" * 60 for number in range(300)]
    chain = [Record(n, QType.CNAME, 1, m) for n, m in pairwise(names)]
    response = render_response(
        PLAIN, rcode=Rcode.NOERROR, records=chain, max_size=65_535
    )
    assert len(response) > 0x3FFF
    found = dns.message.from_wire(response)
    assert [rrset.name.to_text() for rrset in found.answer] == [
        f"{n}." for n in names[:-1]
    ]
