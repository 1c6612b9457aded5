"""The requests of one connection, and what is changed or said on it."""

from __future__ import annotations

import json

import pytest

from stockade.errors import WireError
from stockade.wire.http1 import (
    MAX_HEAD,
    BodyEvent,
    HeadEvent,
    RequestStream,
    denial_response,
    parse_request_head,
    rewrite_without_upgrade,
)
from tests.unit.wire.builders import head

CHUNKED = head("Transfer-Encoding: chunked", line="POST / HTTP/1.1")


def sized(size: int) -> bytes:
    return head(f"Content-Length: {size}", line="POST / HTTP/1.1")


def shapes(events) -> list[str | bytes]:
    """Events as words: the method of a head, the octets of a body."""
    return [e.head.method if isinstance(e, HeadEvent) else e.raw for e in events]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(head(), ["GET"], id="a request"),
        pytest.param(head() * 3, ["GET"] * 3, id="requests in a row"),
        pytest.param(sized(0) + head(), ["POST", "GET"], id="an empty body"),
        pytest.param(
            sized(5) + b"hello" + head(),
            ["POST", b"hello", "GET"],
            id="a body, a request",
        ),
        pytest.param(sized(5) + b"he", ["POST", b"he"], id="half a body"),
        pytest.param(
            sized(len(head())) + head() + head(),
            ["POST", head(), "GET"],
            id="a body that looks like a request",
        ),
        pytest.param(
            CHUNKED + b"5\r\nhello\r\n0A\r\n0123456789\r\n0\r\n\r\n" + head(),
            ["POST", b"5\r\nhello\r\n0A\r\n0123456789\r\n0\r\n\r\n", "GET"],
            id="chunks are one event with their framing",
        ),
        pytest.param(
            CHUNKED + b"5\r\nhe", ["POST", b"5\r\nhe"], id="half a chunk goes out"
        ),
        pytest.param(CHUNKED + b"5\r", ["POST"], id="half a size does not"),
        pytest.param(
            CHUNKED + b"5\r\nhello\r",
            ["POST", b"5\r\nhello"],
            id="nor half a line end",
        ),
        pytest.param(
            head("Connection: close") + head(),
            ["GET", "GET"],
            id="after a close as well",
        ),
    ],
)
def test_requests_and_bodies_are_told_apart(data, expected) -> None:
    stream = RequestStream()
    events = stream.receive(data)
    assert shapes(events) == expected
    assert b"".join(event.raw for event in events) + stream.unread == data


BROKEN = b"GET / HTTP/1.1\nHost: d.test\n\n"


@pytest.mark.parametrize(
    ("data", "before"),
    [
        pytest.param(head() + BROKEN, ["GET"], id="a second request in doubt"),
        pytest.param(
            sized(2) + b"hi\r\n" + head(),
            ["POST", b"hi"],
            id="an empty line after a body",
        ),
        pytest.param(CHUNKED + b"5;x=y\r\n", ["POST"], id="a chunk extension"),
        pytest.param(CHUNKED + b"-5\r\n", ["POST"], id="a chunk of negative size"),
        pytest.param(CHUNKED + b"0x5\r\n", ["POST"], id="a prefix of hexadecimal"),
        pytest.param(CHUNKED + b" 5\r\n", ["POST"], id="a space before the size"),
        pytest.param(CHUNKED + b"5 \r\n", ["POST"], id="a space after the size"),
        pytest.param(CHUNKED + b"\r\n", ["POST"], id="no size"),
        pytest.param(CHUNKED + b"5\nhello", ["POST"], id="a line feed alone"),
        pytest.param(CHUNKED + b"5\rhello", ["POST"], id="a carriage return alone"),
        pytest.param(CHUNKED + b"80000000\r\n", ["POST"], id="a size of 32 bits"),
        pytest.param(CHUNKED + b"0" * 16, ["POST"], id="a size of sixteen digits"),
        pytest.param(
            CHUNKED + b"0" * 16 + b"\r\n", ["POST"], id="such a size with its line end"
        ),
        pytest.param(
            CHUNKED + b"5\r\nhelloX\r\n", ["POST", b"5\r\nhello"], id="a longer chunk"
        ),
        pytest.param(
            CHUNKED + b"5\r\nhello\rX", ["POST", b"5\r\nhello"], id="half a line end"
        ),
        pytest.param(
            CHUNKED + b"0\r\nHost: d.test\r\n\r\n", ["POST", b"0\r\n"], id="a trailer"
        ),
    ],
)
def test_events_before_a_violation_come_first(data, before) -> None:
    stream = RequestStream()
    assert shapes(stream.receive(data)) == before
    for more in (b"", head()):
        with pytest.raises(WireError):
            stream.receive(more)


def test_a_violation_with_nothing_before_it_is_raised_at_once() -> None:
    with pytest.raises(WireError):
        RequestStream().receive(BROKEN)


def test_a_head_too_large_is_refused_however_much_arrives() -> None:
    with pytest.raises(WireError):
        RequestStream().receive(b"GET / HTTP/1.1\r\nX: " + b"y" * (2 * MAX_HEAD))


def test_octets_received_after_an_offer_to_upgrade_are_kept() -> None:
    offer = head("Connection: upgrade", "Upgrade: websocket")
    stream = RequestStream()
    assert shapes(stream.receive(offer + b"\x81\x05hello")) == ["GET"]
    assert stream.unread == b"\x81\x05hello"


def test_a_body_of_known_length_may_be_moved_elsewhere() -> None:
    stream = RequestStream()
    assert stream.spliceable == 0
    stream.receive(sized(10) + b"abc")
    assert stream.spliceable == 7
    stream.skip(5)
    assert stream.spliceable == 2
    assert shapes(stream.receive(b"yz" + head())) == [b"yz", "GET"]
    assert stream.spliceable == 0
    stream.receive(sized(3))
    stream.skip(3)
    assert shapes(stream.receive(head())) == ["GET"]
    with pytest.raises(ValueError, match="1 octets of 0"):
        stream.skip(1)


def test_chunks_are_not_moved_elsewhere() -> None:
    stream = RequestStream()
    stream.receive(CHUNKED + b"5\r\nhe")
    assert stream.spliceable == 0


def test_one_octet_chunks_cost_no_more_than_their_octets() -> None:
    stream = RequestStream()
    body = b"1\r\nx\r\n" * 20_000
    stream.receive(CHUNKED)
    assert stream.receive(body) == [BodyEvent(body)]


@pytest.mark.parametrize(
    ("fields", "left"),
    [
        pytest.param(
            ["Connection: Upgrade", "Upgrade: websocket", "X: y"], ["X: y"], id="alone"
        ),
        pytest.param(
            ["cOnnection:  Upgrade, HTTP2-Settings ,close", "uPgrade: h2c"],
            ["cOnnection: close"],
            id="among others",
        ),
        pytest.param(["HTTP2-Settings: AAM", "X:y"], ["X:y"], id="settings"),
        pytest.param(
            ["Connection:keep-alive,  x", "Y:  z "],
            ["Connection:keep-alive,  x", "Y:  z "],
            id="nothing to drop",
        ),
    ],
)
def test_an_offer_to_upgrade_is_dropped_and_nothing_else(fields, left) -> None:
    rewritten = rewrite_without_upgrade(head(*fields))
    assert rewritten == head(*left)
    found = parse_request_head(rewritten)
    assert found is not None
    assert found.upgrade is None


@pytest.mark.parametrize("status", [400, 403, 418])
def test_a_denial_is_json_with_a_line_for_people(status) -> None:
    text = 'stockade: "d.test"\r\nis not reachable: \u2026'
    response = denial_response(
        status=status, body={"error": "x", "host": None}, text=text
    )
    top, _, payload = response.partition(b"\r\n\r\n")
    lines = top.split(b"\r\n")
    assert lines[0].startswith(f"HTTP/1.1 {status} ".encode())
    assert f"Content-Length: {len(payload)}".encode() in lines
    assert b"Connection: close" in lines
    assert payload.count(b"\n") == 1
    assert list(json.loads(payload).items()) == [
        ("error", "x"),
        ("host", None),
        ("message", text),
    ]
