"""TLS and HTTP as independent implementations read them: OpenSSL, h11, llhttp, Python."""

from __future__ import annotations

import io
import ssl
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

import h11
import httptools

#: No ClientHello is shorter, with its record header.
MIN_HELLO = 50

_named: list[str | None] = []
_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
_context.sni_callback = lambda _socket, name, _context: _named.append(name)


def openssl_name(data: bytes) -> tuple[str | None] | None:
    """The name that an OpenSSL server reads, in a tuple; None if it gets no further."""
    _named.clear()
    incoming = ssl.MemoryBIO()
    server = _context.wrap_bio(incoming, ssl.MemoryBIO(), server_side=True)
    incoming.write(data)
    try:
        server.do_handshake()
    except (ssl.SSLError, UnicodeError):
        pass
    return (_named[0],) if _named else None


@dataclass(slots=True)
class Read:
    """One request as somebody else reads it. *hosts* are the values of its Host fields."""

    method: str
    target: str
    hosts: list[str] = field(default_factory=list)
    body: bytes = b""
    is_complete: bool = False
    lengths: list[str] = field(default_factory=list)


class Llhttp:
    """The parser of Node, which several servers use, over the bytes of one connection."""

    def __init__(self) -> None:
        self.requests: list[Read] = []
        self._target = b""
        self._fields: list[tuple[bytes, bytes]] = []
        self._parser = httptools.HttpRequestParser(self)

    def read(self, data: bytes) -> bool:
        """Read *data*; whether it went on to the end, without an error.

        A server that takes no upgrade goes on behind a request for one.
        """
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._parser = httptools.HttpRequestParser(self)
            return self.read(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            return False
        return True

    def on_message_begin(self) -> None:
        self._target = b""
        self._fields = []

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.requests.append(
            Read(
                self._parser.get_method().decode("latin-1"),
                self._target.decode("latin-1"),
                self._values(b"host"),
                lengths=self._values(b"content-length"),
            )
        )

    def on_body(self, body: bytes) -> None:
        self.requests[-1].body += body

    def on_message_complete(self) -> None:
        self.requests[-1].is_complete = True

    def _values(self, wanted: bytes) -> list[str]:
        # It leaves the white space after a value to those who use it.
        return [
            value.rstrip(b" \t").decode("latin-1")
            for name, value in self._fields
            if name == wanted
        ]


def llhttp_reads(data: bytes) -> tuple[list[Read], bool]:
    """The requests of a connection, and whether all of *data* was accepted."""
    parser = Llhttp()
    went_on = parser.read(data)
    return parser.requests, went_on


def h11_reads(data: bytes) -> tuple[list[Read], bool]:
    """The same by h11, which stops after the last request of a connection."""
    server = h11.Connection(h11.SERVER, max_incomplete_event_size=100_000)
    server.receive_data(data)
    requests: list[Read] = []
    try:
        while isinstance(request := server.next_event(), h11.Request):
            requests.append(_from_h11(request))
            if not _finish(server, requests[-1]):
                break
    except (h11.RemoteProtocolError, h11.LocalProtocolError):
        return requests, False
    return requests, True


def _from_h11(request: h11.Request) -> Read:
    hosts = [v.decode("latin-1") for name, v in request.headers if name == b"host"]
    return Read(
        request.method.decode("latin-1"), request.target.decode("latin-1"), hosts
    )


def _finish(server: h11.Connection, request: Read) -> bool:
    """Read the body of *request*; whether another one may follow."""
    while True:
        event = server.next_event()
        if isinstance(event, h11.Data):
            request.body += event.data
        elif isinstance(event, h11.EndOfMessage):
            request.is_complete = True
            break
        else:
            return False
    if server.their_state is not h11.DONE:
        return False
    server.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
    server.send(h11.EndOfMessage())
    if server.our_state is not h11.DONE:
        return False
    server.start_next_cycle()
    return True


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


def python_host(data: bytes) -> str | None:
    """The host of the request that Python's server finds, if it finds one."""
    server = PythonServer(data)
    # Anything but these ends with "501", whatever it names.
    if not server.accepted or server.command not in ("GET", "POST", "HEAD", "DELETE"):
        return None
    host = server.headers.get("Host")
    return None if host is None else str(host)


def target_host(target: str) -> str | None:
    """The host that a target names, which goes before any Host (RFC 9112 section 3.2.2)."""
    if "://" not in target or target.startswith("/"):
        return None
    try:
        host = httptools.parse_url(target.encode("latin-1")).host
    except httptools.HttpParserInvalidURLError:
        return None
    return host.decode("latin-1") if host else None


def bare(host: str) -> str:
    """A Host without its port, in lower case: what a server chooses its site by."""
    host = host.strip().lower()
    literal, bracket, _ = host.partition("]")
    return literal + bracket if bracket else host.partition(":")[0]
