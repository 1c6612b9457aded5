"""DNS questions of devboxes: what is answered, and with which code the rest is refused."""

from __future__ import annotations

import struct

import pytest

from stockade.wire.dns import (
    DnsQueryError,
    QType,
    Rcode,
    parse_query,
    render_query,
)

ID = 0x1234


def name(*labels: bytes) -> bytes:
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


A_TEST = name(b"a", b"test") + b"\0\1\0\1"
OPT = b"\0" + struct.pack("!HHIH", 41, 1_232, 0, 0)


def query(
    question: bytes = A_TEST,
    *,
    flags: int = 0x0100,
    counts: tuple[int, int, int, int] = (1, 0, 0, 0),
    extra: bytes = b"",
) -> bytes:
    return struct.pack("!6H", ID, flags, *counts) + question + extra


def opt(payload: int = 1_232, *, extended: int = 0, options: bytes = b"") -> bytes:
    return b"\0" + struct.pack("!HHIH", 41, payload, extended, len(options)) + options


def with_opt(record: bytes) -> bytes:
    return query(counts=(1, 0, 0, 1), extra=record)


def test_a_question_is_read() -> None:
    found = parse_query(query(name(b"A", b"tEsT") + b"\0\x1c\0\1"))
    assert found.message_id == ID
    assert found.question.name == "a.test"
    assert found.question.qtype == QType.AAAA
    assert found.question.raw == b"\1A\4tEsT\0\0\x1c\0\1"
    assert found.recursion_desired
    assert not found.checking_disabled
    assert not found.edns
    assert found.udp_payload == 512


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        pytest.param(b"\0", "", id="the root"),
        pytest.param(
            name(b"_acme", b"w-1", b"test"), "_acme.w-1.test", id="underscore"
        ),
        pytest.param(
            name(b"x" * 63, b"test"), "x" * 63 + ".test", id="the longest label"
        ),
        pytest.param(
            name(*[b"x" * 63] * 3, b"y" * 61),
            ".".join(["x" * 63] * 3 + ["y" * 61]),
            id="the longest name",
        ),
    ],
)
def test_a_name_is_read(raw, text) -> None:
    assert parse_query(query(raw + b"\0\1\0\1")).question.name == text


@pytest.mark.parametrize(
    ("record", "payload"),
    [
        pytest.param(opt(1_400), 1_232, id="more than is sent"),
        pytest.param(opt(1_000), 1_000, id="less than is sent"),
        pytest.param(opt(0), 512, id="less than is allowed"),
        pytest.param(opt(extended=0x8000), 1_232, id="DNSSEC asked for"),
        pytest.param(opt(options=b"\0\x0a\0\x08" + bytes(8)), 1_232, id="a cookie"),
        pytest.param(opt(options=b"\xff"), 1_232, id="options that are not looked at"),
    ],
)
def test_edns_says_how_much_may_be_sent(record, payload) -> None:
    found = parse_query(with_opt(record))
    assert found.edns
    assert found.udp_payload == payload


@pytest.mark.parametrize(
    ("data", "rcode"),
    [
        pytest.param(b"", None, id="nothing"),
        pytest.param(query()[:11], None, id="half a header"),
        pytest.param(query(flags=0x8180), None, id="an answer"),
        pytest.param(query(flags=0xA800), None, id="an answer to an update"),
        pytest.param(query(flags=0x2800), Rcode.NOTIMP, id="an update"),
        pytest.param(query(flags=0x2000), Rcode.NOTIMP, id="a notification"),
        pytest.param(query(A_TEST[:-1] + b"\3"), Rcode.REFUSED, id="class CHAOS"),
        pytest.param(query(A_TEST[:-1] + b"\xff"), Rcode.REFUSED, id="class ANY"),
        pytest.param(query()[:12], Rcode.FORMERR, id="a header alone"),
        pytest.param(query(b"", counts=(0, 0, 0, 0)), Rcode.FORMERR, id="no question"),
        pytest.param(query(A_TEST * 2, counts=(2, 0, 0, 0)), Rcode.FORMERR, id="two"),
        pytest.param(query(counts=(1, 1, 0, 0)), Rcode.FORMERR, id="an answer in it"),
        pytest.param(
            query(counts=(1, 0, 1, 0)), Rcode.FORMERR, id="an authority in it"
        ),
        pytest.param(
            query(counts=(1, 0, 0, 2), extra=OPT * 2),
            Rcode.FORMERR,
            id="two OPT records",
        ),
        pytest.param(query(counts=(1, 0, 0, 1)), Rcode.FORMERR, id="an OPT not there"),
        pytest.param(query(extra=OPT), Rcode.FORMERR, id="an OPT not counted"),
        pytest.param(with_opt(OPT[:-1]), Rcode.FORMERR, id="half an OPT"),
        pytest.param(with_opt(OPT + b"\0"), Rcode.FORMERR, id="octets after the OPT"),
        pytest.param(with_opt(b"\1a" + OPT), Rcode.FORMERR, id="an OPT with a name"),
        pytest.param(
            with_opt(OPT[:2] + b"\1" + OPT[3:]), Rcode.FORMERR, id="an A record"
        ),
        pytest.param(
            with_opt(opt(extended=0x10000)), Rcode.FORMERR, id="EDNS version 1"
        ),
        pytest.param(
            with_opt(opt()[:-2] + b"\0\5"), Rcode.FORMERR, id="options not there"
        ),
        pytest.param(query(extra=b"\0"), Rcode.FORMERR, id="octets after the end"),
        pytest.param(query(A_TEST[:-1]), Rcode.FORMERR, id="half a class"),
        pytest.param(query(b"\1a\4tes"), Rcode.FORMERR, id="half a label"),
        pytest.param(query(b"\1a"), Rcode.FORMERR, id="no end of the name"),
        pytest.param(query(b"\xc0\x0c\0\1\0\1"), Rcode.FORMERR, id="a pointer"),
        pytest.param(
            query(b"\1a\xc0\x0c\0\1\0\1"), Rcode.FORMERR, id="a pointer later"
        ),
        pytest.param(query(b"\x41" + b"a" * 65), Rcode.FORMERR, id="a label of a kind"),
        pytest.param(
            query(name(*[b"x" * 63] * 3, b"y" * 62) + b"\0\1\0\1"),
            Rcode.FORMERR,
            id="a name of 256 octets",
        ),
        *(
            pytest.param(
                query(name(b"d" + octet + b"x", b"test") + b"\0\1\0\1"),
                Rcode.FORMERR,
                id=f"a label with {what}",
            )
            for octet, what in (
                (b"\0", "NUL"),
                (b".", "a dot"),
                (b" ", "a space"),
                (b"\n", "a line feed"),
                (b"*", "a wildcard"),
                (b"@", "an at sign"),
                (b"\\", "a backslash"),
                (b"\xe2\x84\xaa", "a sign that folds to a letter"),
            )
        ),
    ],
)
def test_the_rest_is_refused(data, rcode) -> None:
    with pytest.raises(DnsQueryError) as caught:
        parse_query(data)
    assert caught.value.rcode is rcode
    assert caught.value.message_id == (ID if len(data) >= 12 else 0)


def test_a_question_to_a_resolver_keeps_the_case_of_its_name() -> None:
    assert render_query(7, "A.tEst", QType.A) == (
        struct.pack("!6H", 7, 0x0100, 1, 0, 0, 1) + b"\1A\4tEst\0\0\1\0\1" + opt()
    )
