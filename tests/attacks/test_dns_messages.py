"""Messages that are no plain question, and what else a question could carry.

Each case asks about a name of its own, so that the lab's record of raw questions tells
whose got out. What is asked of a resolver is the gateway's own message, octet by octet.
"""

from __future__ import annotations

import dns.message
import dns.rcode
import pytest

from tests.attacks.asking import (
    GATEWAY4,
    GATEWAY6,
    OPT,
    Asked,
    framed,
    message,
    put,
    wire,
)
from tests.attacks.builders import get, hello
from tests.lab.addresses import RESOLVER4, RESOLVER6, v4, v6
from tests.lab.stockade import Stockade

X4, X6 = v4(66), v6(66)
#: Where a devbox may ask: where it is told to, and anywhere else.
SERVERS = (GATEWAY4, GATEWAY6, X4, X6)
POLICY = "a.test *.w.test"
RESOLVERS = {RESOLVER4, RESOLVER6}


def opt(options: bytes = b"", *, payload: int = 1232, more: int = 0) -> bytes:
    """An OPT record; *more* are its extended code, version and flags."""
    head = b"\0\0\x29" + payload.to_bytes(2, "big") + more.to_bytes(4, "big")
    return head + len(options).to_bytes(2, "big") + options


def option(code: int, data: bytes) -> bytes:
    """One option of an OPT record."""
    return code.to_bytes(2, "big") + len(data).to_bytes(2, "big") + data


RECORD = b"\0\1\0\1\0\0\0\x3c\0\4\xcb\0\x71\x42"  # An address, without its owner.
LONG = ".".join(["x" * 63] * 3)


def malformed() -> dict[str, bytes]:
    """By what is wrong: a message about `NUMBER.w.test`, which is allowed."""
    names = (wire(f"{number}.w.test") for number in range(1000))
    one = lambda **fields: message(next(names), **fields)  # noqa: E731
    owned = wire("o.w.test") + RECORD
    cases = {
        "no question, yet one": one(counts=(0, 0, 0, 1)),
        "two questions": one(counts=(2, 0, 0, 1), rest=next(names) + b"\0\1\0\1" + OPT),
        "two questions, one denied": one(
            counts=(2, 0, 0, 1), rest=wire("d.test") + b"\0\1\0\1" + OPT
        ),
        "65535 questions": one(counts=(65_535, 0, 0, 1)),
        "an answer": one(counts=(1, 1, 0, 0), rest=owned),
        "an authority": one(counts=(1, 0, 1, 0), rest=owned),
        "an additional address": one(counts=(1, 0, 0, 1), rest=owned),
        "OPT and another": one(counts=(1, 0, 0, 2), rest=OPT + owned),
        "two OPTs": one(counts=(1, 0, 0, 2), rest=OPT + OPT),
        "a signature": one(rest=b"\0\0\xfa\0\xff\0\0\0\0\0\4sign"),
        "an OPT among the answers": one(counts=(1, 1, 0, 0)),
        "OPT of version 1": one(rest=opt(more=0x00010000)),
        "OPT of a name": one(rest=b"\1x" + OPT),
        "OPT that ends early": one(rest=OPT[:-1]),
        "OPT that says more": one(rest=OPT[:-1] + b"\5four"),
        "OPT that says less": one(rest=OPT[:-1] + b"\3four"),
        "OPT that is not there": one(rest=b""),
        "OPT that is not counted": one(counts=(1, 0, 0, 0)),
        "an octet more": one(rest=OPT + b"\0"),
        "a kilobyte more": one(rest=OPT + b"secret" * 200),
        "another message behind it": one(rest=OPT + message(next(names))),
        "no type": one(ends=b"", rest=b"", counts=(1, 0, 0, 0)),
        "half a class": one(ends=b"\0\1\0", rest=b"", counts=(1, 0, 0, 0)),
        "an answer by its flag": one(flags=0x8100),
        "a good answer": one(flags=0x8180, counts=(1, 1, 0, 0), rest=owned),
        "a name without end": message(next(names)[:-1]),
        "a compressed end": message(next(names)[:-1] + b"\xc0\x0c"),
        "a pointer to the header": message(next(names)[:-1] + b"\xc0\0"),
        "a pointer to itself": message(b"\xc0\x0c"),
        "a pointer ahead": message(b"\xc0\x12", rest=OPT + wire("w.test")),
        "a pointer past the end": message(next(names)[:-1] + b"\xff\xff"),
        "half a pointer": message(b"", ends=b"\xc0", rest=b""),
        "a label of 64": message(b"\x40" + b"x" * 64 + wire("w.test")),
        "a label of a reserved kind": message(b"\x81x" + wire("w.test")),
        "a name of 256": message(wire(f"{LONG}.{'x' * 55}.w.test")),
        "a name of 4000": message(wire("x." * 2000 + "w.test"), rest=b""),
    }
    for opcode in range(1, 16):
        cases[f"opcode {opcode}"] = one(flags=opcode << 11 | 0x100)
    for qclass in (0, 2, 3, 4, 254, 255, 0x8001, 65_535):
        cases[f"class {qclass}"] = one(ends=b"\0\1" + qclass.to_bytes(2, "big"))
    for label in (
        *(
            "a.test",
            "evil\0",
            "\0",
            ".",
            "a\\.b",
            "\\046",
            "*",
            "a@b",
            "a b",
            " ",
            "\t",
        ),
        *(
            "\r\nx",
            '"',
            "{",
            "%00",
            "\x7f",
            "\xff",
            "\xe2\x84\xaa",
            "\xc3\xa4",
            "\x1b[",
        ),
    ):
        encoded = label.encode("latin-1")
        name = bytes((len(encoded),)) + encoded + wire("w.test")
        cases[f"label {label!r}"] = message(name)
    for size in range(12):
        cases[f"{size} octets"] = one()[:size]
    return cases


def test_nothing_of_a_malformed_question_leaves(stockade: Stockade) -> None:
    """Not one packet, whatever is wrong; whole questions about the same names do."""
    cases = malformed()
    denied = put(stockade, POLICY, cases, server=SERVERS, patience=1.5)
    assert denied.is_silent(), denied.names()
    for case in cases:
        for answer in denied.answers(case):
            said = dns.message.from_wire(answer, ignore_trailing=True)
            assert not said.answer, case
            assert said.rcode() or case == "a kilobyte more", case
    streams = {case: framed(data) for case, data in cases.items()}
    assert put(stockade, POLICY, streams, server=SERVERS, stream=True).is_silent()
    whole = {str(n): message(wire(f"{n}.w.test")) for n in range(60)}
    whole["a name of 255"] = message(wire(f"{LONG}.{'x' * 54}.w.test"))
    control = put(stockade, POLICY, whole, server=SERVERS)
    assert len(control.names()) == len(whole)
    assert all(len(control.answers(case)) == len(SERVERS) for case in whole)
    assert {entry.address for entry in control.upstream()} <= RESOLVERS


CARRIERS = {
    **{f"flags {flags:#06x}": {"flags": flags} for flags in (
        0x0000, 0x0110, 0x0120, 0x0140, 0x0180, 0x0300, 0x0500, 0x07FF, 0x010F, 0x07F0,
    )},
    **{f"number {number}": {"number": number} for number in (0, 1, 0xCAFE, 0xFFFF)},
    **{f"option {code}": {"rest": opt(option(code, b"secret" * 2))} for code in (
        1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 26_946,
        65_001, 65_535,
    )},
    "the same option ten times": {"rest": opt(option(65_001, b"secret") * 10)},
    "an option of a kilobyte": {"rest": opt(option(12, b"secret" * 180))},
    "an option that ends early": {"rest": opt(b"\xfd\xe9\0\x40secret")},
    "no option, octets": {"rest": opt(b"x")},
    **{f"payload {size}": {"rest": opt(payload=size)} for size in (0, 512, 4096, 65_535)},
    "an extended code": {"rest": opt(more=0xA5000000)},
    "DNSSEC": {"rest": opt(more=0x8000)},
    "flags of EDNS": {"rest": opt(more=0x7FFF)},
    "no EDNS": {"counts": (1, 0, 0, 0), "rest": b""},
}  # fmt: skip


@pytest.mark.parametrize("stream", [False, True], ids=["UDP", "TCP"])
def test_of_a_question_only_name_and_type_are_passed_on(
    stockade: Stockade, *, stream: bool
) -> None:
    """Flags, numbers, sizes, options: a question to a resolver is always the same."""
    cases = {
        case: message(wire(f"c{number}.w.test"), **fields)  # type: ignore[arg-type]
        for number, (case, fields) in enumerate(CARRIERS.items())
    }
    sent = {case: framed(data) for case, data in cases.items()} if stream else cases
    asked = put(stockade, POLICY, sent, stream=stream)
    assert asked.names() == {f"c{number}.w.test" for number in range(len(cases))}
    for entry in asked.upstream():
        plain = message(wire(entry.name), number=int.from_bytes(entry.data[:2], "big"))
        assert entry.data == plain, entry.name
    numbers = {entry.data[:2] for entry in asked.upstream()}
    assert len(numbers) > len(cases) / 2
    for case in cases:
        assert asked.answers(case), case


def test_the_case_of_letters_carries_nothing(stockade: Stockade) -> None:
    """A bit for each letter of a name: the spelling that is passed on is the gateway's."""
    name = "abcdefghijklmnopqrstuvwxyz"
    spelled = [
        "".join(c.upper() if bits >> at % 8 & 1 else c for at, c in enumerate(name))
        for bits in range(256)
    ]
    asked = put(
        stockade, POLICY, {word: message(wire(f"{word}.w.test")) for word in spelled}
    )
    assert asked.names() == {f"{name}.w.test"}
    assert len(asked.upstream()) == 1  # Later ones are answered from memory.
    answered = [word for word in spelled if asked.answers(word)]
    assert len(answered) > 200  # Datagrams may be lost.
    for word in answered:
        assert wire(f"{word}.w.test") in asked.answers(word)[0], word
    shouted = {str(n): message(wire(f"{name}-{n}.W.TEST".upper())) for n in range(8)}
    labels = {
        e.name.partition("-")[0] for e in put(stockade, POLICY, shouted).upstream()
    }
    assert len(labels) > 1
    assert name.upper() not in labels


@pytest.mark.parametrize("source", [53, 1])
def test_ports_and_fragments_make_no_difference(
    stockade: Stockade, source: int
) -> None:
    """From the port that answers come from, in several packets, IPv4 and IPv6."""
    rest = opt(option(12, b"secret" * 600))
    bad = {"one": message(wire("secret.d.test"), rest=rest)}
    denied = put(stockade, POLICY, bad, server=SERVERS, source=source)
    assert denied.is_silent()
    assert len(denied.answers("one")) == len(SERVERS)
    good = {"one": message(wire("a.test"), rest=rest)}
    control = put(stockade, POLICY, good, server=SERVERS, source=source)
    assert len(control.answers("one")) == len(SERVERS)
    assert control.names() == {"a.test"}
    assert {entry.address for entry in control.upstream()} <= RESOLVERS
    assert not [e for e in control.upstream() if b"secret" in e.data]


#: All that have a name, and some that have none.
TYPES = [
    n for n in (*range(270), 32_768, 32_769, 65_280, 65_534, 65_535) if n not in (1, 28)
]
#: Even where everything is allowed: everything there is about a name, and whole zones.
NEVER = {251, 252, 255}


def test_no_type_but_addresses_is_asked(stockade: Stockade) -> None:
    """TXT, NULL, SRV, private types: each could carry something in or out."""
    cases = {
        str(n): message(wire("a.test"), ends=n.to_bytes(2, "big") + b"\0\1")
        for n in TYPES
    }
    denied = put(stockade, POLICY, cases)
    assert denied.is_silent()
    for case in cases:
        (answer,) = denied.answers(case)
        said = dns.message.from_wire(answer)
        assert (said.rcode(), said.answer) == (dns.rcode.NOERROR, []), case
    control = put(stockade, "all", cases)
    types = {int.from_bytes(e.data[-15:-13], "big") for e in control.upstream()}
    assert types == set(TYPES) - NEVER


SERVICE = {
    "hints and keys": ("https-rr.test", 65),
    "another name": ("https-alias.test", 65),
    "of a port": ("_8443._https.https-rr.test", 65),
    "of DNS itself": ("_dns.resolver.arpa", 64),
    "of a service": ("_foo.https-rr.test", 64),
}


def test_service_records_lead_nowhere(stockade: Stockade) -> None:
    """Hints of addresses, aliases, keys of ECH, designated resolvers: none is handed on."""
    names = "https-rr.test https-alias.test *.https-rr.test _dns.resolver.arpa"
    cases = {
        case: message(wire(name), ends=qtype.to_bytes(2, "big") + b"\0\1")
        for case, (name, qtype) in SERVICE.items()
    }
    denied = put(stockade, names, cases)
    assert denied.is_silent()
    for case in cases:
        (answer,) = denied.answers(case)
        assert not dns.message.from_wire(answer).answer
    control = put(stockade, "all", cases)
    assert len(control.upstream()) == len(cases)
    (hint,) = control.answers("hints and keys")
    assert X4 in str(dns.message.from_wire(hint))


def test_questions_are_found_in_streams_however_they_are_cut(
    stockade: Stockade,
) -> None:
    """Two in a segment, lengths in halves, lengths that lie: each is judged by itself."""
    bad, good = message(wire("secret.d.test")), message(wire("a.test"))
    second = message(wire("b.w.test"))
    octets = [bytes((octet,)) for octet in framed(bad, good)]
    cases: dict[str, list[bytes]] = {
        "denied": [framed(bad)],
        "denied first": [framed(bad, good)],
        "denied second": [framed(good, bad)],
        "denied in between": [framed(good, bad, second)],
        "a length in halves": [framed(bad)[:1], framed(bad)[1:]],
        "octet by octet": octets,
        "a length of nothing": [b"\0\0" + framed(bad)],
        "lengths of nothing": [b"\0\0" * 100 + framed(bad)],
        "a length too small": [b"\0\x0c" + bad + framed(bad)],
        "a length too large": [b"\0\xff" + bad + framed(bad)],
        "the largest length": [b"\xff\xff" + bad * 10],
        "one inside another": [framed(framed(good) + framed(bad))],
        "without lengths": [bad, bad],
        "a hundred": [framed(*[bad] * 100)],
        "cut off": [framed(bad)[:-1]],
    }
    denied = put(stockade, POLICY, cases, server=(GATEWAY4, X6), stream=True, gap=0.002)
    assert denied.names() == {"a.test", "b.w.test"}
    assert {entry.address for entry in denied.upstream()} <= RESOLVERS
    assert not denied.report.run.saw(kind="tcp", address=X6)
    counted = {case: messages(denied, case) for case in cases}
    assert counted["denied first"] == counted["denied second"] == [2, 2]
    assert counted["denied in between"] == [3, 3]
    assert counted["octet by octet"] == [2, 2]
    assert counted["a hundred"] == [100, 100]
    control = put(stockade, "*.d.test", cases, stream=True)
    assert control.names() == {"secret.d.test"}


def messages(asked: Asked, case: str) -> list[int]:
    """How many messages each stream of a case got."""
    counts = []
    for stream in asked.answers(case):
        at = count = 0
        while at < len(stream):
            size = int.from_bytes(stream[at : at + 2], "big")
            dns.message.from_wire(stream[at + 2 : at + 2 + size])
            at, count = at + 2 + size, count + 1
        counts.append(count)
    return counts


def test_port_53_carries_nothing_but_questions(stockade: Stockade) -> None:
    """HTTP, TLS, ssh and a tunnel, to the port that everybody leaves open.

    Under any policy: there is no way to have a connection to it relayed.
    """
    cases = {
        "HTTP": get("a.test"),
        "TLS": hello("a.test"),
        "ssh": b"SSH-2.0-probe\r\n",
        "a tunnel": framed(b"secret" * 100),
        "octets": bytes(range(256)) * 8,
    }
    targets = (X4, X6, v4(10))
    ranges = [{"cidr": f"{to}/{128 if ':' in to else 32}"} for to in targets]
    for policy in (POLICY, "all", {"name": "x", "allowed_cidrs": ranges}):
        for stream in (False, True):
            asked = put(
                stockade, policy, cases, server=targets, stream=stream, patience=0.5
            )
            assert asked.is_silent()
    control = put(stockade, "all", cases, server=targets, stream=True, port=5353)
    seen = control.report.run.saw(kind="tcp", port=5353)
    assert len(seen) == len(cases) * len(targets)
