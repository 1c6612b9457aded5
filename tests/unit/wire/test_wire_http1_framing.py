"""Request heads: where a request ends, and what becomes of the connection."""

from __future__ import annotations

import pytest

from stockade.errors import WireError
from stockade.wire.http1 import Framing, RequestHead, parse_request_head
from tests.unit.wire.builders import head


def parsed(data: bytes) -> RequestHead:
    found = parse_request_head(data)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("fields", "framing", "length"),
    [
        pytest.param([], Framing.NONE, 0, id="no body"),
        pytest.param(["Content-Length: 0"], Framing.LENGTH, 0, id="an empty body"),
        pytest.param(["content-length:\t12 "], Framing.LENGTH, 12, id="a length"),
        pytest.param(
            ["Content-Length: 999999999999999999"],
            Framing.LENGTH,
            10**18 - 1,
            id="the most",
        ),
        pytest.param(["Transfer-Encoding: chunked"], Framing.CHUNKED, 0, id="chunks"),
    ],
)
def test_the_length_is_read(fields, framing, length) -> None:
    found = parsed(head(*fields, line="POST / HTTP/1.1"))
    assert (found.framing, found.content_length) == (framing, length)


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param(["Content-Length: 5", "Transfer-Encoding: chunked"], id="both"),
        pytest.param(["Content-Length: 5", "Content-Length: 5"], id="a length twice"),
        pytest.param(["Content-Length: 5, 5"], id="a list of lengths"),
        pytest.param(["Content-Length: +5"], id="a sign"),
        pytest.param(["Content-Length: 0x5"], id="hexadecimal"),
        pytest.param(["Content-Length: 010"], id="a leading zero"),
        pytest.param(["Content-Length: 5 5"], id="a space inside"),
        pytest.param(["Content-Length: "], id="an empty length"),
        pytest.param(["Content-Length: 9223372036854775808"], id="an overflow"),
        pytest.param(["Content-Length: \xb2"], id="a digit that is not ASCII"),
        pytest.param(["Transfer-Encoding: identity"], id="identity"),
        pytest.param(["Transfer-Encoding: gzip, chunked"], id="two codings"),
        pytest.param(["Transfer-Encoding: chunked, identity"], id="chunked not last"),
        pytest.param(["Transfer-Encoding: chunked"] * 2, id="chunked twice"),
        pytest.param(["Transfer-Encoding: Chunked"], id="chunked in another case"),
        pytest.param(["Transfer-Encoding: xchunked"], id="a coding like chunked"),
        pytest.param(["Transfer-Encoding: chunked;q=1"], id="a parameter"),
        pytest.param(["Transfer-Encoding:"], id="an empty coding"),
        pytest.param(["Transfer-Encoding: \x0bchunked"], id="a vertical tab"),
        pytest.param(["Expect: 100-continue, x"], id="two expectations"),
        pytest.param(["Expect: y 100-continue"], id="an obscured expectation"),
        pytest.param(["Expect: 100-continue"] * 2, id="an expectation twice"),
    ],
)
def test_a_doubt_about_the_length_is_an_error(fields) -> None:
    with pytest.raises(WireError):
        parse_request_head(head(*fields, line="POST / HTTP/1.1"))


def test_chunks_are_not_for_http_1_0() -> None:
    with pytest.raises(WireError):
        parse_request_head(head("Transfer-Encoding: chunked", line="POST / HTTP/1.0"))


@pytest.mark.parametrize(
    ("fields", "version", "upgrade"),
    [
        pytest.param(
            ["Connection: Upgrade", "Upgrade: WebSocket"], 1, "websocket", id="asked"
        ),
        pytest.param(
            ["Connection: keep-alive", "Connection: x,uPgrade,", "Upgrade: h2c"],
            1,
            "h2c",
            id="asked among others",
        ),
        pytest.param(
            ["Connection: Upgrade", "Upgrade: SPDY/3.1"],
            1,
            "spdy/3.1",
            id="with a version",
        ),
        pytest.param(["Upgrade: websocket"], 1, "websocket", id="offered, not asked"),
        pytest.param(
            ["Proxy-Connection: upgrade", "Upgrade: x"], 1, "x", id="asked a proxy"
        ),
        pytest.param(["Connection: upgrade"], 1, None, id="asked for nothing"),
        pytest.param(
            ["Connection: Upgrade", "Upgrade: x"], 0, "x", id="in HTTP/1.0, by llhttp"
        ),
    ],
)
def test_an_upgrade_is_one_protocol_that_is_offered(fields, version, upgrade) -> None:
    assert parsed(head(*fields, line=f"GET / HTTP/1.{version}")).upgrade == upgrade


@pytest.mark.parametrize(
    "offer",
    ["websocket, h2c", "", "a b", "h2c;x", "TLS/1.0", "HTTP/2.0", "h2", "h2c-14"],
)
def test_a_choice_of_upgrades_or_of_hosts_is_an_error(offer) -> None:
    with pytest.raises(WireError):
        parse_request_head(head("Connection: upgrade", f"Upgrade: {offer}"))


@pytest.mark.parametrize(
    ("version", "option", "expected"),
    [
        (1, "", True),
        (1, "Close", False),
        (0, "", False),
        (0, "Keep-Alive", True),
    ],
)
def test_a_connection_is_kept_as_its_version_has_it(version, option, expected) -> None:
    data = head(f"Connection: {option}", line=f"GET / HTTP/1.{version}")
    assert parsed(data).keep_alive is expected


def test_an_expectation_is_for_http_1_1() -> None:
    expect = "Expect: 100-Continue"
    assert parsed(head(expect)).expect_continue
    assert not parsed(head(expect, line="GET / HTTP/1.0")).expect_continue
    assert not parsed(head()).expect_continue
