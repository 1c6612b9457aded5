"""DNS messages as dnspython reads and writes them."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address, ip_address
from itertools import pairwise

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset
from hypothesis import given
from hypothesis import strategies as st

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
from tests.property.wire.strategies import Draw, damaged, law

LABELS = st.text(alphabet="abcXYZ019-_", min_size=1, max_size=12)
NAMES = st.lists(LABELS, min_size=1, max_size=6).map(".".join)
TYPES = st.sampled_from([1, 28, 5, 16, 65, 255, 65_280])
FAMILIES = st.sampled_from([QType.A, QType.AAAA])
OPTIONS = st.lists(
    st.sampled_from(
        [
            dns.edns.ECSOption("192.0.2.0", 24),
            dns.edns.GenericOption(dns.edns.OptionType.COOKIE, b"\x01" * 8),
            dns.edns.GenericOption(dns.edns.OptionType.PADDING, bytes(40)),
        ]
    ),
    max_size=2,
)


@st.composite
def queries(draw: Draw) -> bytes:
    edns = draw(st.booleans())
    return dns.message.make_query(
        draw(NAMES),
        draw(TYPES),
        use_edns=edns,
        options=draw(OPTIONS) if edns else None,
        payload=draw(st.integers(0, 65_535)) if edns else None,
        want_dnssec=draw(st.booleans()) if edns else False,
        id=draw(st.integers(0, 65_535)),
    ).to_wire()


def name_of(name: dns.name.Name) -> str:
    """As it is written here: in lower case, the root as nothing."""
    return name.to_text(omit_final_dot=True).lower().removesuffix(".")


def same_question(ours: Query, theirs: dns.message.Message) -> None:
    (question,) = theirs.question
    assert ours.message_id == theirs.id
    assert ours.question.name == question.name.to_text(
        omit_final_dot=True
    ).lower().strip(".")
    assert ours.question.qtype == question.rdtype
    assert ours.question.qclass == question.rdclass
    assert ours.edns == (theirs.edns >= 0)
    assert ours.recursion_desired == bool(theirs.flags & dns.flags.RD)
    assert ours.checking_disabled == bool(theirs.flags & dns.flags.CD)


@law
@given(data=queries())
def test_what_dnspython_asks_is_read(data) -> None:
    ours, theirs = parse_query(data), dns.message.from_wire(data)
    same_question(ours, theirs)
    expected = min(max(theirs.payload, 512), 1_232) if theirs.edns >= 0 else 512
    assert ours.udp_payload == expected


@law
@given(data=damaged(queries()))
def test_dnspython_reads_the_same_from_a_question_we_accept(data) -> None:
    try:
        ours = parse_query(data)
    except DnsQueryError:
        return
    # Options are not looked at here, and dnspython refuses some.
    bare = data[: 12 + len(ours.question.raw)]
    bare = bare[:10] + b"\0\0" + bare[12:]
    theirs = dns.message.from_wire(bare)
    if ours.edns:
        theirs.use_edns(0)
    same_question(ours, theirs)


@law
@given(name=NAMES, qtype=TYPES, message_id=st.integers(0, 65_535))
def test_dnspython_reads_what_is_asked_of_resolvers(name, qtype, message_id) -> None:
    theirs = dns.message.from_wire(render_query(message_id, name, qtype))
    assert theirs.id == message_id
    assert theirs.question[0].name.to_text(omit_final_dot=True) == name
    assert theirs.question[0].rdtype == qtype
    assert (theirs.edns, theirs.payload, theirs.options) == (0, 1_232, ())
    assert theirs.flags == dns.flags.RD


def address(family: QType, number: int) -> str:
    return str((IPv4Address if family is QType.A else IPv6Address)(number))


@st.composite
def answers(draw: Draw) -> tuple[str, QType, bytes]:
    """A question, and an answer with a chain, other records and a SOA, in any order."""
    family = draw(FAMILIES)
    names = draw(
        st.lists(
            NAMES, min_size=1, max_size=MAX_CHAIN + 3, unique_by=lambda n: n.lower()
        )
    )
    ttls = st.integers(0, 2**31 - 1)
    sets = [
        dns.rrset.from_text(f"{owner}.", draw(ttls), "IN", "CNAME", f"{target}.")
        for owner, target in pairwise(names)
    ]
    for owner in [names[-1], draw(NAMES)]:
        numbers = draw(st.lists(st.integers(0, 2**32 - 1), max_size=4, unique=True))
        # One record a set, since dnspython shuffles the records of a set.
        sets += [
            dns.rrset.from_text(
                f"{owner}.", draw(ttls), "IN", family.name, address(family, number)
            )
            for number in numbers
        ]
    message = dns.message.make_response(dns.message.make_query(names[0], family, id=7))
    message.answer = draw(st.permutations(sets))
    message.set_rcode(draw(st.sampled_from([dns.rcode.NOERROR, dns.rcode.NXDOMAIN])))
    if draw(st.booleans()):
        soa = f". . 1 2 3 4 {draw(ttls)}"
        message.authority = [dns.rrset.from_text(".", draw(ttls), "IN", "SOA", soa)]
    return names[0], family, message.to_wire(prefer_truncation=False)


def resolve(
    data: bytes,
) -> tuple[set[IPv4Address | IPv6Address], list[str], int] | None:
    """What dnspython finds: addresses, chain, TTL. None where it has another rule."""
    try:
        message = dns.message.from_wire(data)
        assert isinstance(message, dns.message.QueryMessage)
        result = message.resolve_chaining()
    except (dns.exception.DNSException, ValueError):
        return None
    if sum(map(len, message.answer)) != struct.unpack_from("!H", data, 6)[0]:
        return None  # It folds equal records, and keeps the last of two CNAMEs.
    found = {ip_address(rdata.address) for rdata in result.answer or ()}
    links = [str(rrset[0].target).lower().rstrip(".") for rrset in result.cnames]
    has_time = bool(found or message.authority)
    return found, links, result.minimum_ttl if has_time else 0


@law
@given(asked=answers())
def test_what_dnspython_answers_is_read(asked) -> None:
    name, family, data = asked
    theirs = resolve(data)
    try:
        ours = parse_answer(data, message_id=7, name=name, qtype=family)
    except WireError:
        assert theirs is None or len(theirs[1]) > MAX_CHAIN
        return
    assert int(ours.rcode) == dns.message.from_wire(data).rcode()
    if theirs is not None:
        assert set(ours.addresses) == theirs[0]
        assert [r.data for r in ours.records if isinstance(r.data, str)] == theirs[1]
        assert ours.ttl == theirs[2]


@law
@given(asked=answers(), data=st.data())
def test_dnspython_finds_the_same_in_an_answer_we_accept(asked, data) -> None:
    name, family, valid = asked
    changed = data.draw(damaged(st.just(valid)))
    try:
        ours = parse_answer(changed, message_id=7, name=name, qtype=family)
    except WireError:
        return
    theirs = None if ours.truncated else resolve(changed)
    if theirs is not None and ours.rcode is Rcode.NOERROR:
        assert set(ours.addresses) == theirs[0]


RECORDS = st.one_of(
    st.builds(
        lambda name, ttl, number: Record(name, QType.A, ttl, IPv4Address(number)),
        NAMES.map(str.lower),
        st.integers(0, 2**31 - 1),
        st.integers(0, 2**32 - 1),
    ),
    st.builds(
        lambda name, ttl, target: Record(name, QType.CNAME, ttl, target),
        NAMES.map(str.lower),
        st.integers(0, 2**31 - 1),
        NAMES.map(str.lower),
    ),
)


@law
@given(
    asked=queries(),
    records=st.lists(RECORDS, max_size=MAX_ADDRESSES // 4),
    rcode=st.sampled_from(Rcode),
    ede=st.none() | st.tuples(st.integers(0, 24), st.text(max_size=40)),
)
def test_dnspython_reads_what_is_answered(asked, records, rcode, ede) -> None:
    query = parse_query(asked)
    response = render_response(
        query, rcode=rcode, records=records, ede=ede, max_size=65_535
    )
    theirs = dns.message.from_wire(response, one_rr_per_rrset=True)
    same_question(query, theirs)
    assert theirs.rcode() == rcode
    assert theirs.question == dns.message.from_wire(asked).question
    told = [
        (name_of(rrset.name), rrset.ttl, rrset[0].to_text().lower())
        for rrset in theirs.answer
    ]
    assert told == [
        (r.name, r.ttl, f"{r.data}." if isinstance(r.data, str) else str(r.data))
        for r in records
    ]
    if query.edns and ede is not None:
        (option,) = theirs.options
        assert (option.code, option.text or "") == ede
