"""Request heads: the host that is read, and all that is refused."""

from __future__ import annotations

import pytest

from stockade.errors import WireError
from stockade.wire.http1 import MAX_FIELDS, MAX_HEAD, RequestHead, parse_request_head
from tests.unit.wire.builders import head


def parsed(data: bytes) -> RequestHead:
    found = parse_request_head(data)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("data", "host", "port"),
    [
        pytest.param(head(), "a.test", None, id="a name"),
        pytest.param(head(host="A.Test."), "A.Test.", None, id="a name stays as sent"),
        pytest.param(head(host="a.test:8080"), "a.test", 8080, id="a port"),
        pytest.param(
            head(host=" \ta.test\t "), "a.test", None, id="white space around"
        ),
        pytest.param(head(host="192.0.2.1"), "192.0.2.1", None, id="an IPv4 address"),
        pytest.param(head(host="[2001:db8::1]:80"), "[2001:db8::1]", 80, id="IPv6"),
        pytest.param(head("hOsT: a.test", host=None), "a.test", None, id="any case"),
        pytest.param(head(line="GET / HTTP/1.0"), "a.test", None, id="HTTP/1.0"),
        pytest.param(head(line="OPTIONS * HTTP/1.1"), "a.test", None, id="asterisk"),
        pytest.param(
            head(line="GET http://A.test/x HTTP/1.1"),
            "a.test",
            None,
            id="absolute form",
        ),
        pytest.param(
            head(line="GET http://a.test:80?x HTTP/1.1"),
            "a.test",
            None,
            id="absolute form with the port that goes without saying",
        ),
        pytest.param(
            head(line="GET https://a.test HTTP/1.1", host="a.test:443"),
            "a.test",
            443,
            id="absolute form of the other scheme",
        ),
        pytest.param(
            head(line="CONNECT a.test:443 HTTP/1.1", host="a.test:443"),
            "a.test",
            443,
            id="CONNECT",
        ),
        pytest.param(
            head(line="CONNECT a.test:443 HTTP/1.1"),
            "a.test",
            443,
            id="CONNECT, bare Host",
        ),
        pytest.param(
            head(line="CONNECT a.test:443 HTTP/1.0", host=None),
            "a.test",
            443,
            id="CONNECT of HTTP/1.0 without Host",
        ),
        pytest.param(
            head(line="GET //v1/x.y HTTP/1.1"),
            "a.test",
            None,
            id="two slashes that begin a path",
        ),
        pytest.param(
            head(line="GET /?u=http://d.test/ HTTP/1.1"),
            "a.test",
            None,
            id="a URL in a path",
        ),
        pytest.param(head("X: \xe9\xff\t~"), "a.test", None, id="octets above ASCII"),
    ],
)
def test_the_host_is_read(data, host, port) -> None:
    found = parsed(data)
    assert (found.host, found.port) == (host, port)
    assert found.size == len(data)
    assert parsed(data + b"GET / HTTP/1.1\r\nHost: d.test\r\n\r\n") == found
    assert parse_request_head(data[:-1]) is None


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(head(host=None), id="no Host"),
        pytest.param(head(line="GET / HTTP/1.0", host=None), id="no Host in HTTP/1.0"),
        pytest.param(
            head(line="CONNECT a.test:1 HTTP/1.1", host=None), id="nor in CONNECT"
        ),
        pytest.param(head(host=""), id="an empty Host"),
        pytest.param(head("Host: a.test"), id="the same Host twice"),
        pytest.param(head("host: d.test"), id="two Hosts"),
        pytest.param(head("Host : d.test"), id="a space before the colon"),
        pytest.param(head(" d.test"), id="a folded Host"),
        pytest.param(head("X: y", "\td.test"), id="a folded field"),
        pytest.param(head(host="a.test, d.test"), id="a list of hosts"),
        pytest.param(head(host="a.test d.test"), id="a space in Host"),
        pytest.param(head(host="a@d.test"), id="user information in Host"),
        pytest.param(head(host="http://a.test"), id="a URL in Host"),
        pytest.param(head(host="a.test/"), id="a path in Host"),
        pytest.param(head(host="a.test:"), id="an empty port"),
        pytest.param(head(host="a.test:0"), id="port 0"),
        pytest.param(head(host="a.test:080"), id="a port with leading zero"),
        pytest.param(head(host="a.test:65536"), id="a port too high"),
        pytest.param(head(host="a.test:80:80"), id="two ports"),
        pytest.param(head(host="a%2etest"), id="an escape in Host"),
        pytest.param(head(host="a.test\\d.test"), id="a backslash in Host"),
        pytest.param(head(host="b\xfccher.test"), id="a Host that is not ASCII"),
        pytest.param(head(host="[d.test]"), id="a name in brackets"),
        pytest.param(head(host="[[::1]]"), id="brackets in brackets"),
        pytest.param(head(host="[dead.beef]"), id="hexadecimal that is no address"),
        pytest.param(head(host="2001:db8::1"), id="IPv6 without brackets"),
        pytest.param(
            head(line="GET http://d.test/ HTTP/1.1"), id="another absolute target"
        ),
        pytest.param(
            head(line="GET http://a.test:81/ HTTP/1.1"), id="an absolute target's port"
        ),
        pytest.param(
            head(line="GET http://a.test@d.test/ HTTP/1.1", host="d.test"),
            id="credentials",
        ),
        pytest.param(head(line="GET http:///x HTTP/1.1"), id="no host in the target"),
        pytest.param(head(line="GET http://a.test#@d.test HTTP/1.1"), id="a fragment"),
        pytest.param(
            head(line="GET http:\\\\a.test/ HTTP/1.1"), id="backslashes for slashes"
        ),
        pytest.param(
            head(line="GET http://a.test?@d.test HTTP/1.1"), id="@ in a query"
        ),
        pytest.param(head(line="GET //d.test/ HTTP/1.1"), id="two slashes and a host"),
        pytest.param(head(line="GET //d.test HTTP/1.1"), id="the same without a path"),
        pytest.param(head(line="GET //x@d/ HTTP/1.1"), id="credentials after slashes"),
        pytest.param(head(line="GET /\\d.test/ HTTP/1.1"), id="slash and backslash"),
        pytest.param(head(line="GET ftp://a.test/ HTTP/1.1"), id="another scheme"),
        pytest.param(head(line="GET a.test HTTP/1.1"), id="a target without a slash"),
        pytest.param(head(line="GET * HTTP/1.1"), id="an asterisk for GET"),
        pytest.param(head(line="GET a.test:443 HTTP/1.1"), id="an authority for GET"),
        pytest.param(head(line="CONNECT /x HTTP/1.1"), id="a path for CONNECT"),
        pytest.param(head(line="CONNECT a.test HTTP/1.1"), id="CONNECT without port"),
        pytest.param(head(line="CONNECT d.test:443 HTTP/1.1"), id="CONNECT elsewhere"),
        pytest.param(
            head(line="CONNECT a.test:443 HTTP/1.1", host="a.test:80"),
            id="CONNECT, two ports",
        ),
        pytest.param(
            head("Content-Length: 1", line="CONNECT a.test:1 HTTP/1.1"),
            id="CONNECT, body",
        ),
        pytest.param(head("Connection: close, Host"), id="Host as hop by hop"),
        pytest.param(head("Connection: transfer-encoding"), id="framing as hop by hop"),
        pytest.param(head("Connection: a b"), id="an option that is no token"),
    ],
)
def test_a_doubt_about_the_host_is_an_error(data) -> None:
    with pytest.raises(WireError):
        parse_request_head(data)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(head().replace(b"\r\n", b"\n"), id="line feeds alone"),
        pytest.param(head("X: y\nHost: d.test"), id="one line feed alone"),
        pytest.param(head("X: y\rHost: d.test"), id="one carriage return alone"),
        pytest.param(head("X: y\r"), id="two carriage returns"),
        pytest.param(head("X: \0"), id="NUL"),
        pytest.param(head("X: \x0b"), id="a vertical tab"),
        pytest.param(head("X: \x7f"), id="DEL"),
        pytest.param(head("X\xe9: y"), id="a field name that is not ASCII"),
        pytest.param(head(": y"), id="a field without name"),
        pytest.param(head("X"), id="a field without colon"),
        pytest.param(b"\r\n" + head(), id="an empty line first"),
        pytest.param(b" " + head(), id="a space first"),
        pytest.param(head(line="GET  / HTTP/1.1"), id="two spaces"),
        pytest.param(head(line="GET\t/ HTTP/1.1"), id="a tab"),
        pytest.param(head(line="GET / HTTP/1.1 "), id="a space at the end"),
        pytest.param(head(line="GET /a b HTTP/1.1"), id="a space in the target"),
        pytest.param(head(line="GET /\x7f HTTP/1.1"), id="a control character there"),
        pytest.param(head(line="GET /\xe9 HTTP/1.1"), id="a target that is not ASCII"),
        pytest.param(head(line="GET /"), id="no version"),
        pytest.param(head(line="GET / HTTP/0.9"), id="version 0.9"),
        pytest.param(head(line="GET / HTTP/1.2"), id="version 1.2"),
        pytest.param(head(line="GET / HTTP/2.0"), id="version 2.0"),
        pytest.param(head(line="GET / HTTP/1.10"), id="version 1.10"),
        pytest.param(head(line="GET / http/1.1"), id="the version in lower case"),
        pytest.param(head(line="GE{T / HTTP/1.1"), id="a method that is no token"),
        pytest.param(head(line="M" * 33 + " / HTTP/1.1"), id="a long method"),
        pytest.param(head(line="HTTP/1.1 200 OK"), id="a response"),
        pytest.param(head(*["X: y"] * MAX_FIELDS), id="too many fields"),
        pytest.param(head("X: " + "y" * MAX_HEAD), id="too large"),
        pytest.param(b"GET /" + b"x" * MAX_HEAD, id="too large without an end"),
        pytest.param(b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 300, id="no end of fields"),
        pytest.param(b"GET / HTTP/1.1\nHost: ", id="a line feed alone, at once"),
        pytest.param(b"GET / HTTP/1.1\rH", id="a carriage return alone, at once"),
        pytest.param(b"GET / HTTP/3.1\r\n", id="a wrong first line, at once"),
        pytest.param(head("X: y\nZ: ")[:-4], id="a line feed alone in fields, at once"),
        pytest.param(
            b"GET /" + b"x" * 4_000 + b"\r HTTP/1.1\r\n", id="in a long first line"
        ),
    ],
)
def test_a_doubt_about_the_lines_is_an_error(data) -> None:
    with pytest.raises(WireError):
        parse_request_head(data)


def test_the_limits_themselves_are_allowed() -> None:
    assert parsed(head(*["X: y"] * (MAX_FIELDS - 1))).host == "a.test"
    filled = head("X: " + "y" * (MAX_HEAD - len(head("X: "))))
    assert parsed(filled).size == MAX_HEAD
