"""Plain HTTP that says one host and means another, first or later on a connection."""

from __future__ import annotations

import json

import pytest

from tests.attacks.builders import get, resolve, tcp
from tests.attacks.conftest import Attacker
from tests.lab.addresses import v4, v6

A, D, X, SHARED, WS = v4(10), v4(13), v4(66), v4(30), v4(26)
POLICY = "a.test shared-a.test ws.test"


@pytest.mark.parametrize("address", [D, v6(13)], ids=["IPv4", "IPv6"])
def test_a_denied_host_gets_a_403_that_says_why(attack: Attacker, address: str) -> None:
    """A request to a denied host, by its address: refused, and the host sees nothing."""
    outcome = attack(POLICY, tcp(address, 80, get("d.test")))
    assert outcome.arrived(address) == 0
    head, _, body = outcome.got(0).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 403 ")
    said = json.loads(body)
    assert said["error"] == "network_policy_denied"
    assert said["host"] == "d.test"
    assert said["reason"] == "hostname_not_allowed"
    assert said["generation"] == 1
    assert outcome.reasons(kind="http") == {"hostname_not_allowed"}
    control = attack("d.test", tcp(address, 80, get("d.test")))
    assert control.run.saw(kind="http", name="d.test")


def test_a_shared_address_serves_only_the_allowed_host(attack: Attacker) -> None:
    """The Host field names another site of the same address than the one looked up."""
    outcome = attack(
        POLICY,
        resolve("shared-a.test"),
        tcp(SHARED, 80, get("shared-d.test")),
        tcp(SHARED, 80, get("shared-a.test")),
    )
    assert not outcome.run.saw(kind="http", name="shared-d.test")
    assert outcome.run.saw(kind="http", name="shared-a.test")


@pytest.mark.parametrize(
    "together", [False, True], ids=["after the answer", "pipelined"]
)
def test_every_request_of_a_connection_is_checked(
    attack: Attacker, together: bool
) -> None:
    """The first request is allowed; the second names the denied site of the address."""
    first, second = get("shared-a.test"), get("shared-d.test")
    pieces = [first + second] if together else [first, second]
    outcome = attack(
        POLICY, tcp(SHARED, 80, *pieces, gap=0.2), resolve("shared-a.test")
    )
    assert outcome.run.saw(kind="http", name="shared-a.test")
    assert not outcome.run.saw(kind="http", name="shared-d.test")
    assert "hostname_not_allowed" in outcome.reasons(kind="http", verdict="deny")
    assert outcome.results[0]["end"] != "open"
    control = attack(POLICY, tcp(SHARED, 80, first, first, gap=0.2))
    assert len(control.run.saw(kind="http", name="shared-a.test")) == 2


def test_another_allowed_host_needs_a_connection_of_its_own(attack: Attacker) -> None:
    """Both names are allowed, but the connection goes to the first one's server."""
    outcome = attack(POLICY, tcp(A, 80, get("a.test"), get("shared-a.test"), gap=0.2))
    assert outcome.reasons(kind="http", verdict="deny") == {"http_host_mismatch"}
    assert not outcome.run.saw(kind="http", name="shared-a.test")


AMBIGUOUS = {
    "two Host fields": b"GET / HTTP/1.1\r\nHost: a.test\r\nHost: d.test\r\n\r\n",
    "a folded Host": b"GET / HTTP/1.1\r\nHost: a.test\r\n d.test\r\n\r\n",
    "a space before the colon": b"GET / HTTP/1.1\r\nHost : a.test\r\n\r\n",
    "no Host": b"GET / HTTP/1.0\r\n\r\n",
    "an empty Host": b"GET / HTTP/1.1\r\nHost:\r\n\r\n",
    "bare line feeds": b"GET / HTTP/1.1\nHost: a.test\n\n",
    "a bare line feed in a field": (
        b"GET / HTTP/1.1\r\nHost: a.test\r\nX: y\nHost: d.test\r\n\r\n"
    ),
    "a NUL in Host": b"GET / HTTP/1.1\r\nHost: d.test\0.a.test\r\n\r\n",
    "a tab in Host": b"GET / HTTP/1.1\r\nHost: a.test\td.test\r\n\r\n",
    "userinfo in Host": b"GET / HTTP/1.1\r\nHost: a.test@d.test\r\n\r\n",
    "brackets in Host": b"GET / HTTP/1.1\r\nHost: [d.test]\r\n\r\n",
    "a list in Host": b"GET / HTTP/1.1\r\nHost: a.test, d.test\r\n\r\n",
    "another host in the target": (
        b"GET http://d.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n"
    ),
    "userinfo in the target": (
        b"GET http://a.test@d.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n"
    ),
    "an empty line first": b"\r\nGET / HTTP/1.1\r\nHost: d.test\r\n\r\n",
    "length and chunks": (
        b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: d.test\r\n\r\n"
    ),
    "two lengths": (
        b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n"
        b"Content-Length: 40\r\n\r\n"
    ),
    "a signed length": b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: +5\r\n\r\n",
    "an unknown coding": (
        b"POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: xchunked\r\n\r\n"
    ),
    "chunks in HTTP/1.0": (
        b"POST / HTTP/1.0\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n"
    ),
    "a tab in the request line": b"GET\t/ HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "HTTP/0.9": b"GET /\r\n",
    "a version of its own": b"GET / HTTP/1.2\r\nHost: a.test\r\n\r\n",
}


def test_what_can_be_read_in_two_ways_is_refused(attack: Attacker) -> None:
    """Requests that two servers would read differently, to an allowed address.

    Whatever the far side would make of them, nothing of them arrives.
    """
    names, requests = list(AMBIGUOUS), list(AMBIGUOUS.values())
    outcome = attack(POLICY, *(tcp(A, 80, r, half_close=True) for r in requests))
    assert not outcome.run.saw(kind="http")
    assert not [e for e in outcome.run.saw(kind="tcp", address=A) if e.bytes_in]
    refused = {name: outcome.got(index)[:12] for index, name in enumerate(names)}
    assert set(refused.values()) <= {b"HTTP/1.1 400", b"HTTP/1.1 403"}, refused
    control = attack(POLICY, tcp(A, 80, get("a.test"), half_close=True))
    assert control.run.saw(kind="http", name="a.test")


def test_a_smuggled_request_in_a_body_is_only_a_body(attack: Attacker) -> None:
    """A request hides in a chunk; the gateway and the server must agree where it ends."""
    inner = get("shared-d.test")
    body = f"{len(inner):x}\r\n".encode() + inner + b"\r\n0\r\n\r\n"
    request = get("shared-a.test", extra="Transfer-Encoding: chunked\r\n")
    request = request.replace(b"GET", b"POST", 1) + body
    outcome = attack(POLICY, tcp(SHARED, 80, request))
    assert outcome.run.saw(kind="http", name="shared-a.test")
    assert not outcome.run.saw(kind="http", name="shared-d.test")


@pytest.mark.parametrize(
    "line", [b"1;x=y", b"0x5", b"+5", b"5 ", b"", b"5\n"], ids=repr
)
def test_odd_chunk_sizes_end_the_connection(attack: Attacker, line: bytes) -> None:
    """Chunk extensions and odd numbers are where parsers part ways."""
    request = get("shared-a.test", extra="Transfer-Encoding: chunked\r\n")
    request = request.replace(b"GET", b"POST", 1) + line + b"\r\nhello\r\n0\r\n\r\n"
    outcome = attack(POLICY, tcp(SHARED, 80, request + get("shared-d.test")))
    assert not outcome.run.saw(kind="http", name="shared-d.test")
    assert "http_unparseable" in outcome.reasons(kind="http")


def test_connect_is_refused(attack: Attacker) -> None:
    """CONNECT would make an allowed server a proxy to hosts that nobody judges."""
    outcome = attack(
        POLICY,
        tcp(A, 80, b"CONNECT d.test:443 HTTP/1.1\r\nHost: d.test:443\r\n\r\n"),
        tcp(A, 80, b"CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n"),
        tcp(A, 80, get("a.test")),
    )
    seen = outcome.run.saw(kind="http")
    assert {entry.name for entry in seen} == {"a.test"}
    assert len(seen) == 1
    assert outcome.reasons(kind="http", verdict="deny") == {"http_connect"}
    assert outcome.got(0).startswith(b"HTTP/1.1 403")


def test_the_absolute_form_is_judged_by_its_authority(attack: Attacker) -> None:
    """What a client of a proxy sends: the whole URL in the request line."""
    outcome = attack(
        POLICY,
        tcp(A, 80, b"GET http://d.test/ HTTP/1.1\r\nHost: d.test\r\n\r\n"),
        tcp(A, 80, b"GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n"),
    )
    assert {entry.name for entry in outcome.run.saw(kind="http")} == {"a.test"}


UPGRADE = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


def test_an_upgrade_that_the_server_refuses_opens_nothing(attack: Attacker) -> None:
    """The client asks for a WebSocket, the server says no, the client goes on in HTTP.

    Had the gateway taken its word, the second request would pass unread.
    """
    outcome = attack(
        POLICY,
        tcp(
            SHARED,
            80,
            get("shared-a.test", extra=UPGRADE),
            get("shared-d.test"),
            gap=0.3,
        ),
    )
    assert outcome.run.saw(kind="http", name="shared-a.test")
    assert not outcome.run.saw(kind="http", name="shared-d.test")


def test_a_verified_upgrade_is_opaque(attack: Attacker) -> None:
    """The control: a real WebSocket to an allowed host works, frames and all."""
    frame = bytes.fromhex("818537fa213d7f9f4d5158")  # RFC 6455 section 5.7: "Hello"
    outcome = attack(POLICY, tcp(WS, 80, get("ws.test", extra=UPGRADE), frame, gap=0.3))
    assert outcome.got(0).startswith(b"HTTP/1.1 101")
    assert outcome.got(0).endswith(b"\x81\x05Hello")
    assert outcome.run.saw(kind="ws")


def test_an_upgrade_of_a_later_request_is_not_forwarded(attack: Attacker) -> None:
    """After a first request nobody can tell which response is the 101: none is asked."""
    outcome = attack(
        POLICY,
        tcp(WS, 80, get("ws.test"), get("ws.test", extra=UPGRADE), gap=0.3),
    )
    assert not outcome.got(0).count(b"HTTP/1.1 101")


@pytest.mark.parametrize(
    "opening",
    [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000040000000000"),
        get(
            "shared-a.test",
            extra="Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
            "HTTP2-Settings: AAMAAABkAAQAAP__\r\n",
        ),
    ],
    ids=["by prior knowledge", "by upgrade"],
)
def test_cleartext_http2_does_not_get_through(attack: Attacker, opening: bytes) -> None:
    """HTTP/2 without TLS would carry requests for any host on one connection."""
    outcome = attack(POLICY, resolve("shared-a.test"), tcp(SHARED, 80, opening))
    entries = outcome.run.saw(kind="tcp", address=SHARED) + outcome.run.saw(kind="http")
    assert not [e for e in entries if b"PRI *" in e.data or b"h2c" in e.data]
    assert b"101" not in outcome.got(1)[:16]


def test_no_name_breaks_the_log(attack: Attacker) -> None:
    """A Host with line breaks and quotes must not forge a record of its own."""
    evil = 'x"},{"verdict":"allow","name":"a.test'
    outcome = attack(POLICY, tcp(X, 80, get(evil)), tcp(X, 80, get("a\x85.test")))
    assert outcome.arrived(X) == 0
    assert all(flow["verdict"] == "deny" for flow in outcome.run.flows)
