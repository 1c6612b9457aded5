"""Names in every spelling an attacker knows: in SNI and Host, and in policies."""

from __future__ import annotations

import pytest

from tests.attacks.builders import get, hello
from tests.attacks.casework import each
from tests.attacks.conftest import Attacker
from tests.attacks.hellos import edited, naming
from tests.lab import Lab
from tests.lab.addresses import v4, v6
from tests.lab.stockade import COMMAND, Stockade

A, X = v4(10), v4(66)
POLICY = "a.test *.w.test k.test"
ALLOWED = [b"a.test", b"x.w.test", b"k.test"]

# What no allowed name is, however some server or library may fold, cut or map it.
OTHERS: list[bytes] = [
    *(b"d.test", b"D.TEST", b"d.test.", b"d.TeSt.", b"test", b"test.", b"w.test"),
    *(b"nota.test", b"xa.test", b"a.tes", b"a.testt", b"a-test", b"xw.test"),
    *(b"a.test.x.test", b"x.w.test.evil.test", b"a.test.d.test."),
    # Dots too many, and a wildcard by its own name.
    *(b"a.test..", b".a.test", b"a..test", b"..", b".", b".w.test", b"x..w.test"),
    *(b"*.w.test", b"*.test", b"*", b"x.*.w.test", b"-x.w.test", b"x-.w.test"),
    # Names that end where a careless reader stops.
    *(b"d.test\0.w.test", b"d.test\0x.w.test", b"a.test\0", b"a.test\0.d.test"),
    *(b"\0a.test", b"d.test\r\n.w.test", b"d.test\n.w.test", b"d.test\r.w.test"),
    *(b"d.test .w.test", b"d.test\t.w.test", b"d.test\x0b.w.test"),
    *(b"d.test#.w.test", b"d.test?.w.test", b"d.test/.w.test", b"d.test\\.w.test"),
    *(b"d.test;.w.test", b"d.test,.w.test", b"d.test|.w.test", b"d.test:443.w.test"),
    *(b"a.test@d.test", b"d.test@a.test", b"d.test%00.w.test", b"d.test%0a.w.test"),
    *(b"%61.test", b"a%2etest", b"a.test%20", b"d.test\\000.w.test", b"\\097.test"),
    *(b"[d.test]", b"[a.test]", b"[[::1]]", b"[::1]", b'"a.test"', b"'a.test'"),
    *(b"{a,d}.test", b"$(a).test", b"a.test\x1b[31m", b"a.test\x7f", b"a.test\x08"),
    # What Unicode maps to an allowed name, as UTF-8 and as Latin-1.
    *(
        text.encode()
        for text in (
            "\uff41.test",  # a full-width letter
            "a\uff0etest",  # a full-width dot
            "a\u3002test",  # an ideographic full stop
            "a\uff61test",  # the half-width one
            "\u24d0.test",  # a letter in a circle
            "\u0430.test",  # a Cyrillic letter
            "\u212a.test",  # KELVIN SIGN, whose lower case is k
            "a.te\u017ft",  # LONG S, whose upper case is S
            "a\u00ad.test",  # a soft hyphen, which is mapped to nothing
            "a.test\u200b",  # zero width
            "\u202etset.a",  # the other way round
            "\ufeffa.test",
            "x\uff0ew.test",
        )
    ),
    *(b"a.t\xe9st", b"\xaa.test", b"\xc1.test", b"a.test\xa0", b"a\xb7test"),
    *(b"xn--a.test", b"xn--a-.test", b"xn--a.xn--test-", b"xn--a-ecp.test"),
    # Labels and names of more octets than DNS has.
    *(b"x" * 64 + b".w.test", b"a.test" + b"." * 250, (b"x" * 63 + b".") * 4 + b"w.test"),
    b"x." * 124 + b"w.test",
]  # fmt: skip


def shown(name: bytes) -> str:
    """A name as the name of a case."""
    return repr(name[:60])


@pytest.mark.parametrize("address", [X, v6(66)], ids=["IPv4", "IPv6"])
def test_no_spelling_in_a_hello_is_taken_for_an_allowed_name(
    attack: Attacker, address: str
) -> None:
    """Each name in the SNI, to the attacker's address: no octet arrives there.

    And none at the allowed hosts either, which are where a name that was read too
    generously would have gone.
    """
    cases = {shown(name): edited("a.test", naming(name)) for name in OTHERS}
    denied = each(attack, POLICY, address, cases)
    assert denied.arrived() == set()
    assert not denied.outcome.run.saw(kind="tcp")
    for case in cases:
        assert denied.denials(case) <= {"hostname_not_allowed", "tls_unparseable"}
        assert len(denied.denials(case)) == 1, case
    control = each(attack, "all", address, cases)
    assert control.arrived() == set(cases)


@pytest.mark.parametrize("address", [X, v6(66)], ids=["IPv4", "IPv6"])
def test_no_spelling_in_a_host_is_taken_for_an_allowed_name(
    attack: Attacker, address: str
) -> None:
    """The same names as Host of a plain request; an empty one with them."""
    cases = {
        shown(name): b"GET / HTTP/1.1\r\nHost: " + name + b"\r\n\r\n"
        for name in [*OTHERS, b"", b" "]
    }
    denied = each(attack, POLICY, address, cases)
    assert denied.arrived() == set()
    assert not denied.outcome.run.saw(kind="tcp")
    for case in cases:
        assert denied.got(case)[:12] in (b"HTTP/1.1 400", b"HTTP/1.1 403"), case
    control = each(attack, "all", address, cases)
    assert control.arrived() == set(cases)


def test_no_name_forges_a_record_or_a_line_of_the_summary(attack: Attacker) -> None:
    """One record for each connection, whatever is in its name; nothing for terminals."""
    hellos = {f"sni {shown(name)}": edited("a.test", naming(name)) for name in OTHERS}
    requests = {
        f"host {shown(name)}": b"GET / HTTP/1.1\r\nHost: " + name + b"\r\n\r\n"
        for name in OTHERS
    }
    batch = each(attack, POLICY, X, {**hellos, **requests})
    assert not batch.outcome.run.saw(kind="tcp")
    flows = batch.outcome.run.flows
    for case, port in batch.ports.items():
        records = [flow for flow in flows if flow["port"] == port]
        assert [record["verdict"] for record in records] == ["deny"], case
        assert (records[0]["name"] or "").isprintable(), case
    assert len(flows) == len(batch.ports)
    summary = batch.outcome.run.stderr
    assert all(line.isprintable() for line in summary.splitlines())
    control = each(attack, POLICY, X, {"a": get("a.test"), "b": hello("a.test")})
    assert {flow["verdict"] for flow in control.outcome.run.flows} == {"allow"}


SPELLINGS = [
    *(b"a.test", b"A.TEST", b"a.TeSt.", b"x.w.test", b"X.y.z.W.test.", b"1.w.test"),
    *(b"_acme.w.test", b"_a._tcp.w.test", b"a_b.w.test", b"a--b.w.test", b"_.w.test"),
    *(b"xn--bcher-kva.w.test", b"123.w.test", b"0x1.w.test", b"a.test.w.test"),
    *(b"x" * 63 + b".w.test", (b"x" * 61 + b".") * 3 + b"y" * 60 + b".w.test"),
]


def test_every_proper_spelling_of_an_allowed_name_passes(attack: Attacker) -> None:
    """Case, one final dot, underscores, digits, the longest labels and names.

    Sent to the attacker's address: what is allowed goes to where the name points, and a
    policy that does not name it lets nothing through.
    """
    hellos = {f"sni {n!r:.60}": hello(n.decode()) for n in SPELLINGS if len(n) < 70}
    requests = {f"host {n!r:.60}": get(n.decode()) for n in SPELLINGS}
    allowed = each(attack, POLICY, X, {**hellos, **requests})
    assert allowed.arrived() == {*hellos, *requests}
    assert not allowed.outcome.run.saw(address=X)
    denied = each(attack, "b.test", X, {**hellos, **requests})
    assert denied.arrived() == set()


def test_a_name_in_another_script_is_its_a_labels(lab: Lab, attack: Attacker) -> None:
    """A policy in Unicode means the A-labels, however it is composed; nothing else."""
    lab.set_name("xn--bcher-kva.idn.test", a=[A])
    lab.set_name("full.idn.test", a=[A])
    cases = {
        name: get(name) for name in ("xn--bcher-kva.idn.test", "full.idn.test")
    } | {"utf-8": get("BU").replace(b"BU", "bücher.idn.test".encode())}
    fields = {
        "name": "idn",
        "allowed_hostnames": [
            "BU\u0308CHER.idn\u3002test",
            "\uff46\uff55\uff4c\uff4c.idn.test",
        ],
    }
    try:
        allowed = each(attack, fields, X, cases)
        assert allowed.arrived() == set(cases) - {"utf-8"}
        denied = each(attack, "bucher.idn.test", X, cases)
        assert denied.arrived() == set()
    finally:
        lab.remove_name("xn--bcher-kva.idn.test")
        lab.remove_name("full.idn.test")


@pytest.mark.parametrize(
    "pattern",
    [
        "\uff0a.w.test", "*\u3002w.test", "*.", "*..w.test", "*.*", "*.test.", "?.w.test",
        "[a-z].w.test", "a.test,d.test", "a.test d.test", "a.test\t", "\ufeffa b.test",
        "^a\\.test$", "a.test.*", ".*\\.w\\.test", "%61.test", "a.test/", "//a.test",
        "a.test:", "user@a.test", "a.test?x", "a.test#x", "\uff11.2.3.4", "1.2.3", "10",
        "0xcb007142", "0313.0.0161.0102", "203.0.113.66.", "[2001:db8::66]", "::1.2.3.4",
        "2001:db8::/32", "a.test\x00", "x" * 64 + ".w.test", "x." * 127 + "test",
        "a\u200d.test", "xn--\u0430.test", "\u2024.test", "-", "_.-.test", "..",
    ],
)  # fmt: skip
def test_what_is_no_host_name_is_refused_before_anything_runs(
    lab: Lab, stockade: Stockade, pattern: str
) -> None:
    """In a policy file, beside a good name: the whole policy is refused, not the entry."""
    options = stockade.options({"name": "n", "allowed_hostnames": ["a.test", pattern]})
    before = lab.packets()
    done = lab.exec_host([COMMAND, "run", *options, "--", "echo", "ran"])
    assert done.returncode == 125
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr[:-1].isprintable()
    assert lab.packets() == before
