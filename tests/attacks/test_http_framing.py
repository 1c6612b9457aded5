"""Where a request ends: what follows it must not be a request that nobody read.

Two sites share an address: `shared-a.test` is allowed, `shared-d.test` is not. Each case
hides a request for the second one where only some servers would find it.
"""

from __future__ import annotations

import pytest

from tests.attacks.builders import get
from tests.attacks.casework import each
from tests.attacks.conftest import Attacker
from tests.lab.addresses import v4, v6

SHARED = v4(30)
A, D = "shared-a.test", "shared-d.test"
MARK = D.encode()
HIDDEN = get(D, "/hidden")
CHUNKED = "Transfer-Encoding: chunked"


def post(*fields: str, body: bytes = b"", line: str = "POST /x HTTP/1.1") -> bytes:
    """A request for the allowed host with these fields, and *body* after it."""
    head = "\r\n".join([line, f"Host: {A}", *fields, "", ""])
    return head.encode("latin-1") + body


LENGTHS = [
    *(
        "+5",
        "-5",
        "-0",
        "05",
        "00",
        "0x5",
        "0b1",
        "5.0",
        "5e0",
        "5_0",
        "5,",
        ",5",
        "5,5",
    ),
    *(
        "5, 5",
        "5,6",
        "5 5",
        "5;5",
        "5\t5",
        "5x",
        "x5",
        "",
        "nan",
        "\xb2",
        "5\xa0",
        "\x855",
    ),
    *("18446744073709551616", "18446744073709551621", "9223372036854775808", "1" * 400),
    *(
        "4294967296000000000000",
        "5\x0b",
        "5\0",
        "5\x7f",
        "\xef\xbb\xbf5",
        "five",
        "'5'",
    ),
]
CODINGS = [
    *("Chunked", "CHUNKED", "chunked, chunked", "chunked,", ",chunked", "identity"),
    *(
        "chunked, identity",
        "identity, chunked",
        "gzip, chunked",
        "gzip",
        "x",
        "xchunked",
    ),
    *("chunkedx", "chunked;q=1", "chunked; x=y", '"chunked"', "chunked chunked", ""),
    *("\x0bchunked", "chunked\x0b", "\x00chunked", "chunked\0", "\xa0chunked"),
    *(
        "chunked\xa0",
        "\x85chunked",
        "chu nked",
        "chunk",
        "cow",
        "[chunked]",
        "\xffchunked",
    ),
]
#: Fields that servers differ about; what follows is no body, or is one, or both.
FIELDS = {
    "length and chunks": ("Content-Length: 5", CHUNKED),
    "chunks and length": (CHUNKED, "Content-Length: 5"),
    "no length and chunks": ("Content-Length: 0", CHUNKED),
    "length and an odd coding": ("Content-Length: 5", "Transfer-Encoding: x"),
    "two lengths": ("Content-Length: 5", "Content-Length: 0"),
    "two lengths, reversed": ("Content-Length: 0", "Content-Length: 5"),
    "the same length twice": ("Content-Length: 5", "content-length: 5"),
    "two codings": (CHUNKED, "Transfer-Encoding: identity"),
    "two codings, reversed": ("Transfer-Encoding: identity", CHUNKED),
    "the same coding twice": (CHUNKED, CHUNKED.lower()),
    "a folded coding": ("Transfer-Encoding:", " chunked"),
    "a coding with a fold": ("Transfer-Encoding: x,", "\tchunked"),
    "a fold for a coding": ("X: y", f" {CHUNKED}"),
    "a fold for a length": ("X: y", " Content-Length: 5"),
    "a folded length": ("Content-Length:", " 5"),
    "a longer length by a fold": ("Content-Length: 5", " 0"),
    "a space before a colon": ("Transfer-Encoding : chunked",),
    "a tab before a colon": ("Content-Length\t: 5",),
    "a space before the name": ("X: y", " Transfer-Encoding: chunked"),
    "a form feed before the name": ("X: y", f"\x0c{CHUNKED}"),
    "NUL in the name": ("Transfer\0-Encoding: chunked",),
    "an octet above ASCII in the name": ("Content-Length\xa0: 5",),
    "a line feed alone": (f"X: y\n{CHUNKED}",),
    "a carriage return alone": (f"X: y\r{CHUNKED}",),
    "both, reversed": (f"X: y\n\r{CHUNKED}",),
    "an early end": (f"X: y\n\n{CHUNKED}",),
    "an early end, mixed": (f"X: y\r\n\n{CHUNKED}",),
    "a late carriage return": (f"{CHUNKED}\r",),
    "NUL in a value": (f"X: \0\r\n{CHUNKED}",),
    "the length by hop": ("Content-Length: 5", "Connection: Content-Length"),
    "the coding by hop": (CHUNKED, "Connection: transfer-encoding"),
    "expecting something else": ("Content-Length: 5", "Expect: 200-ok"),
    "expecting twice": (
        "Content-Length: 5", "Expect: 100-continue", "Expect: 100-continue",
    ),
    "expecting a list": ("Content-Length: 5", "Expect: 100-continue, x"),
    "expecting nothing": ("Content-Length: 5", "Expect:"),
    **{f"length {value!r:.30}": (f"Content-Length: {value}",) for value in LENGTHS},
    **{f"coding {value!r}": (f"Transfer-Encoding: {value}",) for value in CODINGS},
}  # fmt: skip


@pytest.mark.parametrize("address", [SHARED, v6(30)], ids=["IPv4", "IPv6"])
def test_fields_that_leave_a_doubt_about_the_end_are_refused(
    attack: Attacker, address: str
) -> None:
    """Nothing of such a request arrives, and nothing of what follows it.

    All of it arrives where nothing is read.
    """
    body = b"0\r\n\r\n" + HIDDEN
    cases = {name: post(*fields, body=body) for name, fields in FIELDS.items()}
    cases |= {
        f"{name}, HTTP/1.0": post(*fields, body=body, line="POST /x HTTP/1.0")
        for name, fields in [*FIELDS.items(), ("chunks", (CHUNKED,))]
    }
    cases |= {
        f"{name}, GET": post(*fields, body=body, line="GET /x HTTP/1.1")
        for name, fields in FIELDS.items()
    }
    denied = each(attack, A, address, cases, lookups=A)
    assert denied.arrived() == set()
    for name in cases:
        assert denied.denials(name) == {"http_unparseable"}, name
        assert denied.got(name).startswith(b"HTTP/1.1 400"), name
    control = each(attack, "all", address, cases)
    assert control.carried(MARK) == set(cases)


CHUNKS = {
    "an extension": b"5;x=y\r\nhello\r\n0\r\n\r\n",
    "an extension with a line feed": b"5;x\ny\r\nhello\r\n0\r\n\r\n",
    "an extension with a carriage return": b"5;\rx\r\nhello\r\n0\r\n\r\n",
    "an empty extension": b"5;\r\nhello\r\n0\r\n\r\n",
    "an extension of the last": b"0;x\r\n\r\n",
    "a space after": b"5 \r\nhello\r\n0\r\n\r\n",
    "a space before": b" 5\r\nhello\r\n0\r\n\r\n",
    "a tab": b"5\t\r\nhello\r\n0\r\n\r\n",
    "a form feed": b"\x0c5\r\nhello\r\n0\r\n\r\n",
    "hexadecimal as in C": b"0x5\r\nhello\r\n0\r\n\r\n",
    "a plus": b"+5\r\nhello\r\n0\r\n\r\n",
    "a minus": b"-5\r\nhello\r\n0\r\n\r\n",
    "a low line": b"0_5\r\nhello\r\n0\r\n\r\n",
    "an h": b"5h\r\nhello\r\n0\r\n\r\n",
    "no number": b"x\r\nhello\r\n0\r\n\r\n",
    "nothing": b"\r\nhello\r\n0\r\n\r\n",
    "a dot": b"5.0\r\nhello\r\n0\r\n\r\n",
    "another script": b"\xd9\xa5\r\nhello\r\n0\r\n\r\n",
    "a line feed alone": b"5\nhello\r\n0\r\n\r\n",
    "a carriage return alone": b"5\rhello\r\n0\r\n\r\n",
    "two carriage returns": b"5\r\r\nhello\r\n0\r\n\r\n",
    "line feed and carriage return": b"5\n\rhello\r\n0\r\n\r\n",
    "a line feed alone after the data": b"5\r\nhello\n0\r\n\r\n",
    "a carriage return alone after the data": b"5\r\nhello\r0\r\n\r\n",
    "other octets after the data": b"5\r\nhelloXX0\r\n\r\n",
    "more data": b"5\r\nhello!\r\n0\r\n\r\n",
    "less data": b"5\r\nhell\r\n0\r\n\r\n",
    "line feeds alone at the end": b"0\n\n",
    "a line feed alone at the end": b"0\r\n\n",
    "a carriage return alone at the end": b"0\r\n\r",
    "2 to the 31": b"80000000\r\nhello\r\n0\r\n\r\n",
    "2 to the 32": b"100000000\r\n\r\n",
    "2 to the 32 and more": b"100000005\r\nhello\r\n0\r\n\r\n",
    "2 to the 63": b"8000000000000000\r\nhello\r\n0\r\n\r\n",
    "2 to the 64 and more": b"10000000000000005\r\nhello\r\n0\r\n\r\n",
    "many zeros": b"0" * 40 + b"5\r\nhello\r\n0\r\n\r\n",
    "all of a long": b"FFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n",
    "a trailer": b"0\r\nX: y\r\n\r\n",
    "a trailer that is a Host": b"0\r\nHost: shared-a.test\r\n\r\n",
    "a trailer that is a length": b"0\r\nContent-Length: 50\r\n\r\n",
    "a trailer that folds": b"0\r\n x\r\n\r\n",
    "a trailer without colon": b"0\r\nx\r\n\r\n",
}


@pytest.mark.parametrize("cut", [False, True], ids=["at once", "in pieces"])
def test_chunks_that_leave_a_doubt_end_the_connection(
    attack: Attacker, cut: bool
) -> None:
    """What was clear is forwarded; the hidden request never is, in no form."""
    cases = {}
    for name, body in CHUNKS.items():
        whole = post(CHUNKED, body=body + HIDDEN)
        cases[name] = [whole[:-8], whole[-8:]] if cut else [whole]
    if cut:
        cases |= {
            f"{name}, octet by octet": [
                post(CHUNKED), *(bytes((o,)) for o in body[:12]), body[12:] + HIDDEN,
            ]
            for name, body in CHUNKS.items()
        }  # fmt: skip
    denied = each(attack, A, SHARED, cases, lookups=A)
    assert denied.carried(MARK) == set()
    assert denied.asked_for(D) == set()
    for name in cases:
        assert denied.denials(name) == {"http_unparseable"}, name
    control = each(attack, "all", SHARED, cases)
    assert control.carried(MARK) == set(cases)


def test_a_request_in_a_body_stays_in_it(attack: Attacker) -> None:
    """Bodies that are one to every server: they pass, with a request inside or not.

    The server answers one request and has a body of that size; a second request behind it
    is judged like any other, and denied.
    """
    size = len(HIDDEN)
    wrapped = b"%x\r\n%s\r\n0\r\n\r\n" % (size, HIDDEN)
    zeros = b"000%X\r\n%s\r\n00\r\n\r\n" % (size, HIDDEN)
    bit_by_bit = b"".join(b"1\r\n%c\r\n" % octet for octet in HIDDEN) + b"0\r\n\r\n"
    fits = f"Content-Length: {size}"
    bodies = {
        "a length": post(fits, body=HIDDEN),
        "a length, any case": post(fits.upper(), body=HIDDEN),
        "a length, white space": post(f"{fits} \t", body=HIDDEN),
        "a length, of GET": post(fits, body=HIDDEN, line="GET /x HTTP/1.1"),
        "a length, of DELETE": post(fits, body=HIDDEN, line="DELETE /x HTTP/1.1"),
        "a length, HTTP/1.0": post(
            fits, "Connection: keep-alive", body=HIDDEN, line="POST /x HTTP/1.0"
        ),
        "a length that is expected": post(fits, "Expect: 100-continue", body=HIDDEN),
        "chunks": post(CHUNKED, body=wrapped),
        "chunks, any case": post("tRANSFER-eNCODING:chunked", body=wrapped),
        "chunks with zeros": post(CHUNKED, body=zeros),
        "chunks of one octet": post(CHUNKED, body=bit_by_bit),
        "chunks that are expected": post(CHUNKED, "Expect: 100-Continue", body=wrapped),
        "chunks, and TE": post(CHUNKED, "TE: trailers, gzip", body=wrapped),
        "an empty body, then none": post("Content-Length: 0"),
        "no chunks": post(CHUNKED, body=b"0\r\n\r\n"),
    }
    alone = each(attack, A, SHARED, bodies)
    assert alone.asked_for(D) == set()
    for name, sent in bodies.items():
        requests = alone.entries(name, "http")
        assert [entry.name for entry in requests] == [A], name
        length = size if HIDDEN in sent or "octet" in name else 0
        assert requests[0].detail["length"] == length, name
    followed = {name: body + get(D, "/second") for name, body in bodies.items()}
    denied = each(attack, A, SHARED, followed)
    assert denied.carried(b"/second") == set()
    assert denied.asked_for(D) == set()
    for name in followed:
        assert denied.denials(name) == {"hostname_not_allowed"}, name
    allowed = {name: body + get(A, "/second") for name, body in bodies.items()}
    control = each(attack, A, SHARED, allowed)
    assert control.carried(b"/second") == set(allowed)


def test_what_only_looks_like_framing_is_none(attack: Attacker) -> None:
    """Fields that no server frames by: what follows is the next request, and denied."""
    fields = [
        *("Content_Length: 5", "Transfer_Encoding: chunked", "X-Content-Length: 5"),
        *("TE: chunked", "Content-Lenght: 5", "Trailer: Host", "Length: 5"),
        *("Content-Encoding: chunked", "Content-Range: bytes 0-4/5", "Keep-Alive: 5"),
        *("Proxy-Connection: close", "Connection: close", "Connection: keep-alive"),
    ]
    cases = {field: post(field, body=HIDDEN) for field in fields}
    denied = each(attack, A, SHARED, cases, lookups=A)
    assert denied.carried(MARK) == set()
    assert all(denied.names(case) == [A] for case in cases)
    control = each(attack, "all", SHARED, cases)
    assert control.carried(MARK) == set(cases)
