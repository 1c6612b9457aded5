"""What first bytes are taken for: what any server could read as HTTP is never opaque."""

from __future__ import annotations

import pytest

from stockade.wire.http1 import MAX_HEAD
from stockade.wire.sniff import MAX_SNIFF, Protocol, SniffError, sniff
from stockade.wire.tls import MAX_HELLO, MAX_RECORDS
from tests.unit.wire.builders import head, hello

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
TLS, HTTP, H2C, OPAQUE = Protocol.TLS, Protocol.HTTP, Protocol.H2C, Protocol.OPAQUE
MONGO = b"\1" + bytes(7) + b"\xdd\7" + bytes(6)
PROXY2 = b"\r\n\r\n\0\r\nQUIT\n"


@pytest.mark.parametrize(
    ("data", "protocol", "name"),
    [
        pytest.param(hello(b"a.test"), TLS, "a.test", id="a ClientHello"),
        pytest.param(hello(None), TLS, None, id="a ClientHello without a name"),
        pytest.param(
            b"\x80\x2e\x01\x03\x01" + bytes(43), TLS, None, id="a hello like SSL 2"
        ),
        pytest.param(head(), HTTP, "a.test", id="a request"),
        pytest.param(
            head(host="[::1]:80"), HTTP, "[::1]", id="a request to an address"
        ),
        pytest.param(
            head(line="CONNECT d.test:443 HTTP/1.0", host=None),
            HTTP,
            "d.test",
            id="CONNECT",
        ),
        pytest.param(head(line="x / HTTP/1.1"), HTTP, "a.test", id="an unknown method"),
        pytest.param(PREFACE, H2C, None, id="HTTP/2 in the clear"),
        pytest.param(PREFACE + bytes(9), H2C, None, id="HTTP/2 with a frame"),
        pytest.param(b"SSH-2.0-OpenSSH_9.9\r\n", OPAQUE, None, id="ssh"),
        pytest.param(b"\0\0\0\x08\x04\xd2\x16\x2f", OPAQUE, None, id="postgres"),
        pytest.param(b"\0", OPAQUE, None, id="an octet that is no text"),
        pytest.param(b"\xff\xfd\x18", OPAQUE, None, id="telnet"),
        pytest.param(b"\x05\x01\0", OPAQUE, None, id="SOCKS"),
        pytest.param(b"{", OPAQUE, None, id="an octet that begins no method"),
        pytest.param(b"*1\r\n$4\r\nPING\r\n", OPAQUE, None, id="redis"),
        pytest.param(b"PING\r\n", OPAQUE, None, id="redis by hand"),
        pytest.param(b"EHLO box.test\r\n", OPAQUE, None, id="smtp"),
        pytest.param(b"\r\nEHLO box.test\r\n", OPAQUE, None, id="an empty line first"),
        pytest.param(b"a1 LOGIN me secret\r\n", OPAQUE, None, id="imap"),
        pytest.param(b"get key\r\n", OPAQUE, None, id="memcached"),
        pytest.param(b'CONNECT {"verbose":false}\r\n', OPAQUE, None, id="nats"),
        pytest.param(b"OPTIONS sip:a.test SIP/2.0\r\n", OPAQUE, None, id="sip"),
        pytest.param(b"CONNECT\naccept-version:1.2\n\n\0", OPAQUE, None, id="stomp"),
        pytest.param(b"AMQP\0\0\x09\x01", OPAQUE, None, id="amqp"),
        pytest.param(b"8=FIX.4.4\x019=65\x01", OPAQUE, None, id="fix"),
        pytest.param(b"<?xml version='1.0'?><stream:", OPAQUE, None, id="xmpp"),
        pytest.param(b"\x30\x0c\x02\x01\x01\x60\x07", OPAQUE, None, id="ldap"),
        pytest.param(
            b"\x30\x20\x02\x01\x01", OPAQUE, None, id="ldap, a space for a length"
        ),
        pytest.param(
            b"\x16\1\0\0" + MONGO, OPAQUE, None, id="mongo, a length like a handshake"
        ),
        pytest.param(
            b"\x15\1\0\0\2" + bytes(7), OPAQUE, None, id="mongo, a length like an alert"
        ),
        pytest.param(
            b"\x86\1\0\0" + MONGO, OPAQUE, None, id="mongo, a length like SSL 2"
        ),
        pytest.param(
            b"\x0a\1\0\0" + MONGO, OPAQUE, None, id="mongo, a length like a line end"
        ),
        pytest.param(
            b"\x16\1\0\1\x85\xa2\xff\1", OPAQUE, None, id="mysql, a length like TLS"
        ),
        pytest.param(b"0032git-upload-pack /p\0host=a.test\0", OPAQUE, None, id="git"),
        pytest.param(b"*IDN?\r*IDN?\r", OPAQUE, None, id="lines that end with CR"),
        pytest.param(b"\x16\x17\x03\x01\0\5", OPAQUE, None, id="nothing like TLS"),
    ],
)
def test_first_bytes_are_recognised(data, protocol, name) -> None:
    found = sniff(data)
    assert found is not None
    assert (found.protocol, found.name) == (protocol, name)
    assert (found.hello is None) == (protocol is not TLS)
    assert (found.head is None) == (protocol is not HTTP)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x16", id="the type of a TLS record"),
        pytest.param(b"\x16\2\0\1\0", id="a record header of another version"),
        pytest.param(hello()[:-1], id="a ClientHello but for one octet"),
        pytest.param(b"\x80\x2e\x01", id="the start of a hello like SSL 2"),
        pytest.param(b"\x80\x2e", id="what may still become one"),
        pytest.param(b"G", id="a letter"),
        pytest.param(b"GET / HTTP/1.1\r", id="a line but for one octet"),
        pytest.param(head()[:-1], id="a request but for one octet"),
        pytest.param(PREFACE[:-1], id="a preface but for one octet"),
        pytest.param(b"EHLO", id="a line that may become anything"),
        pytest.param(b"\r\n\r\n", id="empty lines"),
        pytest.param(b"GET /" + b"x" * 60_000, id="a long request line"),
    ],
)
def test_more_is_asked_for_while_it_is_not_clear(data) -> None:
    assert sniff(data) is None


@pytest.mark.parametrize(
    ("data", "protocol"),
    [
        pytest.param(hello(b"a test"), TLS, id="a ClientHello in doubt"),
        pytest.param(b"\x15\x03\x01\0\2\1\0" + hello(), TLS, id="a warning first"),
        pytest.param(
            b"\x14\x03\x03\0\1\1" + hello(), TLS, id="a change of cipher first"
        ),
        pytest.param(b"\x17\x03\x03\0\1\1" + hello(), TLS, id="data first"),
        pytest.param(b"\x16\0\0" + hello()[3:], TLS, id="a record version Go ignores"),
        pytest.param(b"\x16\x0f\xff" + hello()[3:], TLS, id="the highest such version"),
        pytest.param(head(host=None), HTTP, id="a request without Host"),
        pytest.param(head().replace(b"\r", b""), HTTP, id="a request with bare LF"),
        pytest.param(head().replace(b"\n", b""), HTTP, id="a request with bare CR"),
        pytest.param(b"\r\n" + head(), HTTP, id="an empty line first"),
        pytest.param(b"\n" + head(), HTTP, id="an empty line of one octet first"),
        pytest.param(b" " + head(), HTTP, id="a space first"),
        pytest.param(b"\x1f\x0b" + head(), HTTP, id="white space to Python first"),
        pytest.param(b"GET /\r\n", HTTP, id="a request without version"),
        pytest.param(b"GET\t/\n", HTTP, id="the same with a tab"),
        pytest.param(b"DELETE http://d.test\r\n", HTTP, id="the same, absolute form"),
        pytest.param(b"GET\x1c/\x1cHTTP/1.1\r\n", HTTP, id="separators to Python"),
        pytest.param(b"\xa0GET\x85/\xa0HTTP/1.1\r\n", HTTP, id="more of them"),
        pytest.param(b"GET x\r\nHost: d.test\r\n", HTTP, id="any target of GET"),
        pytest.param(b"POST \1 HTTP/1.1\r\n", HTTP, id="a control for a target"),
        pytest.param(b"M-SEARCH *\r\n", HTTP, id="no version: Node serves it"),
        pytest.param(b"GET_PARAMETER /\r\n", HTTP, id="RTSP's own methods: the same"),
        pytest.param(b"DESCRIBE x://d RTSP/1.0\r\n", HTTP, id="RTSP: the same"),
        pytest.param(b"SOURCE / ICE/1.0\r\n", HTTP, id="ICE: the same"),
        pytest.param(b"x x ICE/1.0\r\n", HTTP, id="HAProxy takes any method"),
        pytest.param(b"CONNECT d.test:443\r\n", HTTP, id="CONNECT without version"),
        pytest.param(b"VERSION-CONTROL /x\r\n", HTTP, id="a method of WebDAV"),
        pytest.param(b"GET\r/ HTTP/1.1\r\n", HTTP, id="a carriage return for a space"),
        pytest.param(b"PUT x\rHTTP/1.1\r\n", HTTP, id="the same, later"),
        pytest.param(b"get / http/1.1\r\n", HTTP, id="everything in lower case"),
        pytest.param(b"x y HTTP/9\r\n", HTTP, id="any version"),
        pytest.param(b"GET /\0 HTTP/1.1\r\n", HTTP, id="NUL in a request line"),
        pytest.param(b"GET / HTTP/2.0\r\n", HTTP, id="version 2 without the preface"),
        pytest.param(PREFACE[:18] + b"XX", HTTP, id="a broken preface"),
        pytest.param(b"HTTP/1.1 200 OK\r\n", HTTP, id="a response"),
        pytest.param(
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1 80\r\n" + head(),
            HTTP,
            id="a PROXY header",
        ),
        pytest.param(PROXY2 + head(), HTTP, id="a binary PROXY header"),
        pytest.param(b"GET /" + b"x" * MAX_HEAD, HTTP, id="a line too long"),
        pytest.param(b" " * MAX_HEAD, HTTP, id="nothing but spaces"),
        pytest.param(b"x" * 2_000 + b" HTTP/\r\n", HTTP, id="a version far away"),
    ],
)
def test_what_a_server_may_read_otherwise_is_an_error(data, protocol) -> None:
    with pytest.raises(SniffError) as caught:
        sniff(data)
    assert caught.value.protocol is protocol


@pytest.mark.parametrize("end", [b"\r\n", b"\n", b"\rx"])
@pytest.mark.parametrize("size", range(1_020, 1_028))
def test_a_line_end_is_found_wherever_it_is(size, end) -> None:
    line = b"x" * size
    assert sniff(line) is None
    found = sniff(line + end)
    assert found is not None
    assert found.protocol is OPAQUE


def test_more_octets_than_any_head_or_hello_are_sniffed() -> None:
    assert MAX_SNIFF > MAX_HEAD
    assert MAX_SNIFF > MAX_HELLO + 5 * MAX_RECORDS
