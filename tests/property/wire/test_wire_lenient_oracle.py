"""First bytes as lenient servers read them: never opaque, never for another host.

Python's http.server splits a request line at any white space, takes any target, and reads
fields of a request without a version; h11 takes bare line feeds and a line before.
"""

from __future__ import annotations

import io
from http.server import BaseHTTPRequestHandler

import h11
from hypothesis import given
from hypothesis import strategies as st

from stockade.wire.sniff import Protocol, sniff
from tests.property.wire.strategies import ERROR, Draw, damaged, law, outcome

METHODS = "GET POST HEAD DELETE get FOO PROPFIND M-SEARCH CONNECT G(T".split()
TARGETS = "/ /x * http://d.test/ x://d.test d.test d.test:80 //d.test \1 /\x7f /\xe9"
VERSIONS = "HTTP/1.1|HTTP/1.0|http/1.1|HTTP/1.2|HTTP/2.0|HTTP/0.9||RTSP/1.0|HTTP/1.1 "
SPACES = [" ", "  ", "\t", "\v", "\f", "\r", "\x1c", "\x85", "\xa0", "\0"]
LEADS = ["\r\n", "\n", " ", "\t", "\r", "\v", "\xa0", "\x1f", "\0", "x\r\n"]
ENDS = ["\n", "\r", "\r\r\n", "\n\r", " \r\n", "\0\r\n"]
HOSTS = """Host: d.test|Host:d.test|host: D.TEST|Host : d.test| Host: d.test|Host: d.test.
Host: a.test\r\nHost: d.test|Host: d.test:80|Host: a.test, d.test|Host: a.test\n d.test|
Host: u@d.test|Host: d.test a.test|X: y\nHost: d.test|X\r\nHost: d.test|:\nHost: d.test"""


@st.composite
def requests(draw: Draw) -> bytes:
    """A request with a few odd parts."""

    def part(usual: str, odd: list[str]) -> str:
        return draw(st.just(usual) | st.just(usual) | st.sampled_from(odd))

    end = part("\r\n", ENDS)
    return "".join(
        (
            part("", LEADS),
            part("GET", METHODS),
            part(" ", SPACES),
            part("/", TARGETS.split(" ")),
            part(" ", SPACES),
            part("HTTP/1.1", VERSIONS.split("|")),
            end,
            part("Host: d.test", HOSTS.replace("|\n", "|").split("|")),
            part(end, ENDS),
            part(end, ENDS),
        )
    ).encode("latin-1")


class PythonServer(BaseHTTPRequestHandler):
    """Python's server, without a connection: it reads one request from bytes."""

    def __init__(self, data: bytes) -> None:
        self.rfile = io.BufferedReader(io.BytesIO(data))
        self.raw_requestline = self.rfile.readline(65_537)
        self.refused = False
        self.accepted = self.parse_request() and not self.refused

    def send_error(self, *_args: object, **_named: object) -> None:
        self.refused = True

    def handle_expect_100(self) -> bool:
        return True


def python_reads(data: bytes) -> str | None:
    """The host of the request that Python's server finds, if it finds one."""
    server = PythonServer(data)
    # Anything but these ends with "501", whatever it names.
    if not server.accepted or server.command not in ("GET", "POST", "HEAD", "DELETE"):
        return None
    return server.headers.get("Host")


def h11_reads(data: bytes) -> str | None:
    server = h11.Connection(h11.SERVER)
    try:
        server.receive_data(data)
        request = server.next_event()
    except h11.RemoteProtocolError:
        return None
    if not isinstance(request, h11.Request):
        return None
    hosts = [value for name, value in request.headers if name == b"host"]
    return hosts[0].decode("latin-1") if hosts else None


def bare(host: str) -> str:
    return host.strip().partition(":")[0].lower()


def test_the_oracles_are_lenient() -> None:
    assert python_reads(b"\xa0GET\r\1\nHost: d.test\n\n") == "d.test"
    assert h11_reads(b"GET / HTTP/1.1\nHost: d.test\n\n") == "d.test"


@law
@given(data=requests() | damaged(requests()))
def test_what_a_lenient_server_reads_is_the_same_or_refused(data) -> None:
    ours = outcome(sniff, data)
    if ours is None or ours is ERROR:
        return  # nothing is forwarded
    for theirs in (python_reads(data), h11_reads(data)):
        if theirs is not None:
            assert ours.protocol is Protocol.HTTP
            assert bare(ours.name) == bare(theirs)
