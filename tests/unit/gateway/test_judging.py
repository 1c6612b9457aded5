"""From first bytes to a decision: what a connection is, and by which name."""

from __future__ import annotations

import socket
from ipaddress import ip_address
from typing import Any

import pytest

from stockade.gateway.devboxes import AttachedDevbox
from stockade.gateway.first_bytes import FirstBytes
from stockade.gateway.flowlog import Kind
from stockade.gateway.judging import candidates, judge, meant_by, observe
from stockade.names import Hostname
from stockade.policy.decide import Decision, Reason, Verdict, deny
from stockade.wire.sniff import Protocol, SniffError, sniff
from tests.attacks.builders import get, hello
from tests.unit.gateway.fakes import devbox, side

PUBLIC = ip_address("203.0.113.10")
BASE = deny(Reason.ADDRESS_NOT_ALLOWED)
H2C = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


@pytest.fixture
def box() -> AttachedDevbox:
    return devbox("a.test *.w.test")


def first(data: bytes, **options: Any) -> FirstBytes:
    """First bytes as the reader of a connection gives them."""
    try:
        return FirstBytes(data, sniff(data), **options)
    except SniffError as problem:
        return FirstBytes(data, problem=problem)


JUDGED = [
    pytest.param(
        hello("a.test"), 443, Kind.TLS, "allowed_hostname", "a.test", id="SNI allowed"
    ),
    pytest.param(
        hello("x.w.test"), 8443, Kind.TLS, "allowed_hostname", "x.w.test", id="any port"
    ),
    pytest.param(
        hello("d.test"),
        443,
        Kind.TLS,
        "hostname_not_allowed",
        "d.test",
        id="SNI denied",
    ),
    pytest.param(
        hello(None), 443, Kind.TLS, "tls_without_name", None, id="no SNI on 443"
    ),
    pytest.param(
        hello(None), 8443, Kind.TLS, "address_not_allowed", None, id="no SNI elsewhere"
    ),
    pytest.param(
        get("a.test"), 80, Kind.HTTP, "allowed_hostname", "a.test", id="Host allowed"
    ),
    pytest.param(
        get("A.TEST:80"), 80, Kind.HTTP, "allowed_hostname", "a.test", id="with a port"
    ),
    pytest.param(
        get("d.test"), 80, Kind.HTTP, "hostname_not_allowed", "d.test", id="Host denied"
    ),
    pytest.param(
        get("203.0.113.66"),
        80,
        Kind.HTTP,
        "address_not_allowed",
        "203.0.113.66",
        id="an address as Host",
    ),
    pytest.param(
        b"CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n",
        80,
        Kind.HTTP,
        "http_connect",
        "a.test",
        id="CONNECT, even to an allowed name",
    ),
    pytest.param(
        b"GET / HTTP/1.1\r\nHost: a.test\r\nHost: d.test\r\n\r\n",
        80,
        Kind.HTTP,
        "http_unparseable",
        None,
        id="two Hosts",
    ),
    pytest.param(
        b"GET / HTTP/1.1\r\n\r\n", 80, Kind.HTTP, "http_unparseable", None, id="no Host"
    ),
    pytest.param(H2C, 80, Kind.HTTP, "http2_cleartext", None, id="h2c"),
    pytest.param(
        b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\xff",
        443,
        Kind.TLS,
        "tls_unparseable",
        None,
        id="a broken ClientHello",
    ),
    pytest.param(
        b"SSH-2.0-x\r\n", 22, Kind.TCP, "address_not_allowed", None, id="ssh, no lookup"
    ),
    pytest.param(b"\0\1\2", 5432, Kind.TCP, "address_not_allowed", None, id="opaque"),
]


@pytest.mark.parametrize(("data", "port", "kind", "reason", "shown"), JUDGED)
def test_without_a_lookup_only_the_bytes_decide(
    box: AttachedDevbox,
    data: bytes,
    port: int,
    kind: Kind,
    reason: str,
    shown: str | None,
) -> None:
    judged = judge(first(data), box, PUBLIC, port, BASE)
    assert (judged.kind, judged.decision.reason, judged.display) == (
        kind,
        Reason(reason),
        shown,
    )
    assert (judged.name is not None) or not judged.decision.allowed


@pytest.mark.parametrize(
    ("data", "port"),
    [
        pytest.param(b"SSH-2.0-x\r\n", 22, id="ssh"),
        pytest.param(b"\0\0\0\x08\x04\xd2\x16\x2f", 5432, id="postgres"),
        pytest.param(b"EHLO x\r\n", 25, id="mail"),
        pytest.param(b"", 3306, id="nothing at all"),
        pytest.param(hello(None), 8443, id="TLS without a name, not on 443"),
    ],
)
def test_an_opaque_protocol_is_judged_by_its_lookup(
    box: AttachedDevbox, data: bytes, port: int
) -> None:
    box.lookups.record(Hostname("a.test"), PUBLIC)
    judged = judge(first(data), box, PUBLIC, port, BASE)
    assert judged.decision.reason is Reason.ALLOWED_HOSTNAME
    assert judged.name == Hostname("a.test")
    assert judged.is_ssh == data.startswith(b"SSH-")


@pytest.mark.parametrize(
    ("data", "port", "reason"),
    [
        pytest.param(hello("d.test"), 443, "hostname_not_allowed", id="another SNI"),
        pytest.param(get("d.test"), 80, "hostname_not_allowed", id="another Host"),
        pytest.param(hello(None), 443, "tls_without_name", id="no SNI on 443"),
        pytest.param(H2C, 80, "http2_cleartext", id="h2c"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", 80, "http_unparseable", id="no Host"),
    ],
)
def test_a_lookup_does_not_help_who_says_another_name(
    box: AttachedDevbox, data: bytes, port: int, reason: str
) -> None:
    box.lookups.record(Hostname("a.test"), PUBLIC)
    judged = judge(first(data), box, PUBLIC, port, BASE)
    assert judged.decision == deny(Reason(reason))


def test_a_lookup_of_a_name_that_is_not_allowed_any_more_opens_nothing(
    box: AttachedDevbox,
) -> None:
    box.lookups.record(Hostname("d.test"), PUBLIC)
    judged = judge(first(b"SSH-2.0-x\r\n"), box, PUBLIC, 22, BASE)
    assert judged.decision == deny(Reason.HOSTNAME_NOT_ALLOWED)
    assert judged.display == "d.test"


def test_the_sinkhole_tells_which_name_was_meant(box: AttachedDevbox) -> None:
    address = box.sinkhole.address_for(Hostname("d.test"))
    judged = judge(first(b"\0"), box, address, 5432, BASE)
    assert judged.decision == deny(Reason.HOSTNAME_NOT_ALLOWED)
    assert judged.display == "d.test"


def test_a_sinkhole_name_that_became_allowed_is_a_candidate(
    box: AttachedDevbox,
) -> None:
    address = box.sinkhole.address_for(Hostname("a.test"))
    assert candidates(box, address, 22) == (Hostname("a.test"),)
    judged = judge(first(b"SSH-2.0-x\r\n"), box, address, 22, BASE)
    assert judged.decision.allowed


def test_candidates_are_allowed_names_the_latest_first(box: AttachedDevbox) -> None:
    for text in ("a.test", "d.test", "x.w.test"):
        box.lookups.record(Hostname(text), PUBLIC)
    assert candidates(box, PUBLIC, 22) == (Hostname("x.w.test"), Hostname("a.test"))


def test_quarantine_stays_the_reason(box: AttachedDevbox) -> None:
    box.lookups.record(Hostname("a.test"), PUBLIC)
    box.quarantine()
    base = deny(Reason.POLICY_UNAVAILABLE)
    for data in (b"\0", hello("a.test"), get("a.test")):
        assert judge(first(data), box, PUBLIC, 443, base).decision == base


def test_a_client_that_stopped_half_way_is_denied(box: AttachedDevbox) -> None:
    box.lookups.record(Hostname("a.test"), PUBLIC)
    judged = judge(FirstBytes(b"GET", expired=True), box, PUBLIC, 80, BASE)
    assert judged.decision == deny(Reason.NO_CLIENT_DATA)


def test_too_much_without_an_end_is_denied_by_what_it_looks_like(
    box: AttachedDevbox,
) -> None:
    for data, protocol, reason in (
        (b"\x16\x03", Protocol.TLS, Reason.TLS_UNPARSEABLE),
        (b"GET /", Protocol.HTTP, Reason.HTTP_UNPARSEABLE),
    ):
        problem = SniffError("too long", protocol)
        judged = judge(FirstBytes(data, problem=problem), box, PUBLIC, 80, BASE)
        assert judged.decision == deny(reason)


def test_what_is_shown_is_bounded(box: AttachedDevbox) -> None:
    judged = judge(first(get("d" * 4_000)), box, PUBLIC, 80, BASE)
    assert judged.display is not None
    assert len(judged.display) == 255


def test_the_meaning_is_read_without_judging() -> None:
    tls = sniff(hello("A.Test"))
    http = sniff(get("[2001:db8::1]"))
    assert tls is not None
    assert http is not None
    assert meant_by(tls).name == Hostname("a.test")
    assert meant_by(http).name is None
    assert meant_by(http).shown == "[2001:db8::1]"


@pytest.mark.parametrize(
    ("data", "known", "kind", "fact"),
    [
        pytest.param(hello("a.test"), "a.test", Kind.TLS, "a.test", id="SNI as told"),
        pytest.param(hello("b.test"), "a.test", Kind.TLS, None, id="SNI nobody told"),
        pytest.param(b"\0\1", "a.test", Kind.TCP, "a.test", id="opaque, told"),
        pytest.param(b"\0\1", "", Kind.TCP, None, id="opaque, not told"),
        pytest.param(get("a.test"), "a.test", Kind.HTTP, None, id="HTTP has none"),
    ],
)
def test_what_is_judged_by_address_is_observed(
    box: AttachedDevbox, data: bytes, known: str, kind: Kind, fact: str | None
) -> None:
    """Only a name that DNS gave for this address may later keep the connection alive."""
    if known:
        box.lookups.record(Hostname(known), PUBLIC)
    ours, theirs = socket.socketpair()
    theirs.send(data)
    observed = observe(side(ours), box, PUBLIC)
    assert observed[0] is kind
    assert observed[1] == (Hostname(fact) if fact else None)
    assert ours.recv(len(data), socket.MSG_PEEK) == data
    ours.close()
    theirs.close()


def test_an_allowance_has_a_rule(box: AttachedDevbox) -> None:
    judged = judge(first(hello("a.test")), box, PUBLIC, 443, BASE)
    expected = Decision(
        Verdict.ALLOW, Reason.ALLOWED_HOSTNAME, "allowed_hostnames: a.test"
    )
    assert judged.decision == expected
