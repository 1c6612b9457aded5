"""The head of an HTTP/1 request (RFC 9110, RFC 9112), read more strictly than they ask.

Which host a request is for, and where it ends, are the two things that servers disagree
about. Wherever two of them are known to, the head is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv6Address

from stockade.errors import WireError

#: The largest head, in octets up to and including its empty line.
MAX_HEAD = 65_536
#: The most field lines in it.
MAX_FIELDS = 200

_END = b"\r\n\r\n"
_CR = ord("\r")
# A request line up to this size is checked as soon as it is complete; a longer one with
# the head, since a check at every octet that follows would cost too much.
_SHORT_LINE = 2_048
_TCHAR = r"[!#$%&'*+.^_`|~0-9A-Za-z-]"
# One space between the parts, as RFC 9112 section 3 has it and as only some servers insist.
_REQUEST_LINE = re.compile(
    rf"({_TCHAR}{{1,32}}) ([\x21-\x7e]+) HTTP/1\.([01])".encode("ascii")
)
# A line that begins with white space ("obs-fold") or has some before its colon is no field.
_FIELD = re.compile(rf"({_TCHAR}+):([\t\x20-\x7e\x80-\xff]*)".encode("ascii"))
_AUTHORITY = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::([1-9][0-9]{0,4}))?")
# What stands before an "@" in a query is taken for the credentials of a host by some.
_ABSOLUTE = re.compile(r"(https?)://([^/?#]*)(?:/.*|\?[^@\\]*)?", re.IGNORECASE)
# "//" and a host: to some libraries a URL without its scheme (RFC 3986 section 4.2), which
# counts more than Host. What has no dot, port or credentials there is a path.
_PATH = re.compile(
    r"/(?![/\\]+(?:[^/\\?#]*[@:%\[]|[\w-]+(?:\.[\w-]+)+\.?(?:[/\\?#]|\Z)))", re.ASCII
)
# Below 2**60, which no server's counter overflows; no leading zero, which is octal to some.
_LENGTH = re.compile(r"0|[1-9][0-9]{0,17}")
_OPTION = re.compile(rf"(?:{_TCHAR}+)?")
_UPGRADE = re.compile(rf"{_TCHAR}+(?:/{_TCHAR}+)?")
_NAMES_HOSTS = re.compile(r"tls|http|h2(?!c\Z)")

_READ = frozenset(
    b"host content-length transfer-encoding connection upgrade expect".split()
)
# `Connection: host` asks an intermediary to forward the request without its Host.
_NOT_HOP_BY_HOP = frozenset("host content-length transfer-encoding expect".split())
_DEFAULT_PORTS = {"http": 80, "https": 443}

_Fields = dict[str, list[str]]


class Framing(Enum):
    """How the end of a request's body is known."""

    NONE = "none"
    LENGTH = "length"
    CHUNKED = "chunked"


@dataclass(frozen=True, slots=True)
class RequestHead:
    """A request up to its empty line.

    *host* is as sent, without the port; an IPv6 address keeps its brackets. *upgrade* is
    the one protocol to change to, in lower case, whether or not `Connection` says so.
    *size* is in octets, with the empty line.
    """

    method: str
    target: str
    version: tuple[int, int]
    host: str
    port: int | None
    framing: Framing
    content_length: int
    upgrade: str | None
    keep_alive: bool
    size: int
    expect_continue: bool


def parse_request_head(data: bytes) -> RequestHead | None:
    """Read the head that *data* begins with; None while its empty line is missing.

    Limits: `MAX_HEAD` octets, `MAX_FIELDS` field lines. Called again for each octet of the
    longest head, it costs about a second in all.
    """
    end = HeadScan().find_end(data)
    return None if end is None else parse_whole_head(data[:end])


class HeadScan:
    """Finds the end of a head line by line, and goes on from where it stopped.

    Only line feeds are looked for, one step for each line, so that a head which arrives
    octet by octet costs little each time. What is wrong within a field is found when the
    head is complete.
    """

    __slots__ = ("_at", "_lines")

    def __init__(self) -> None:
        self._at = 0  # the start of the first line that is not complete
        self._lines = 0

    def find_end(self, data: bytes, start: int = 0) -> int | None:
        """Where the head that begins at *start* ends; None while that is not known."""
        limit = start + MAX_HEAD
        at = start + self._at
        while (feed := data.find(b"\n", at, limit)) >= 0:
            if feed == at or data[feed - 1] != _CR:
                raise WireError("a line feed without carriage return in an HTTP head")
            self._lines += 1
            if feed - at == 1 and self._lines > 1:
                return feed + 1
            if self._lines > 1 + MAX_FIELDS:
                raise WireError(f"more than {MAX_FIELDS} HTTP fields")
            if self._lines == 1:
                _check_request_line(data[at : feed - 1])
            at = feed + 1
            self._at = at - start
        if not self._lines and b"\r" in data[at:-1]:
            raise WireError("a carriage return without line feed in an HTTP head")
        if len(data) >= limit:
            raise WireError(f"an HTTP head of more than {MAX_HEAD} octets")
        return None


def parse_whole_head(octets: bytes) -> RequestHead:
    """Read a head whose end was found by `HeadScan`."""
    lines = octets.removesuffix(_END).split(b"\r\n")
    method, target, version = _request_line(lines[0])
    fields = _fields(lines[1:])
    host, port = _host(method, target, version, fields.get("host", []))
    framing, length = _framing(method, version, fields)
    options = _options(fields.get("connection", []))
    is_modern = version == (1, 1)
    return RequestHead(
        method=method,
        target=target,
        version=version,
        host=host,
        port=port,
        framing=framing,
        content_length=length,
        upgrade=_upgrade(fields),
        keep_alive="close" not in options if is_modern else "keep-alive" in options,
        size=len(octets),
        expect_continue=_expects_continue(fields) and is_modern,
    )


def _check_request_line(line: bytes) -> None:
    """Refuse a request line while its head is not complete, as far as that costs little."""
    if len(line) <= _SHORT_LINE:
        _request_line(line)
    elif b"\r" in line:
        raise WireError("a carriage return without line feed in an HTTP head")


def _request_line(line: bytes) -> tuple[str, str, tuple[int, int]]:
    found = _REQUEST_LINE.fullmatch(line)
    if found is None:
        raise WireError(f"not an HTTP/1 request line: {line[:80]!r}")
    return found[1].decode("ascii"), found[2].decode("ascii"), (1, int(found[3]))


def _fields(lines: list[bytes]) -> _Fields:
    """Check every field, and keep those that say where a request goes and ends."""
    fields: _Fields = {}
    for line in lines:
        found = _FIELD.fullmatch(line)
        if found is None:
            raise WireError(f"not an HTTP field: {line[:80]!r}")
        name = found[1].lower()
        if name in _READ:
            value = found[2].strip(b" \t").decode("latin-1")
            fields.setdefault(name.decode("ascii"), []).append(value)
    return fields


def _host(
    method: str, target: str, version: tuple[int, int], hosts: list[str]
) -> tuple[str, int | None]:
    """The host and port of a request (RFC 9112 sections 3.2 and 3.3).

    Host and target must say the same: servers differ in which of them they obey.
    """
    if method == "CONNECT":
        host, port = _authority(target)
        if port is None:
            raise WireError(f"CONNECT without a port: {target[:80]!r}")
        # Older Python sends no Host in HTTP/1.0; the gateway says what is wrong.
        if hosts or version != (1, 0):
            _expect_same((host, port), _authority(_only("Host", hosts)), port)
        return host, port
    named = _authority(_only("Host", hosts))
    if _PATH.match(target) or (target == "*" and method == "OPTIONS"):
        return named
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None:
        raise WireError(f"not a target of {method}: {target[:80]!r}")
    default = _DEFAULT_PORTS[absolute[1].lower()]
    _expect_same(_authority(absolute[2]), named, default)
    return named


def _authority(text: str) -> tuple[str, int | None]:
    """Read `host` or `host:port`, without user information or escapes."""
    found = _AUTHORITY.fullmatch(text)
    if found is None:
        raise WireError(f"not a host and port: {text[:80]!r}")
    host, port = found[1], int(found[2]) if found[2] else None
    if port is not None and port > 65_535:
        raise WireError(f"not a port: {port}")
    if host.startswith("["):
        try:
            IPv6Address(host[1:-1])
        except ValueError:
            raise WireError(f"not an IPv6 address: {host[:80]!r}") from None
    return host, port


def _expect_same(
    one: tuple[str, int | None], other: tuple[str, int | None], default: int
) -> None:
    if (one[0].lower(), one[1] or default) != (other[0].lower(), other[1] or default):
        raise WireError(f"an HTTP target of {one[0]!r} with a Host of {other[0]!r}")


def _only(name: str, values: list[str]) -> str:
    if len(values) != 1:
        raise WireError(f"{len(values)} {name} fields in an HTTP head")
    return values[0]


def _framing(
    method: str, version: tuple[int, int], fields: _Fields
) -> tuple[Framing, int]:
    """Where the body ends (RFC 9112 section 6), if there is one way to read that."""
    lengths = fields.get("content-length")
    codings = fields.get("transfer-encoding")
    if (lengths or codings) and method == "CONNECT":
        raise WireError("CONNECT with a body")
    if codings:
        # In lower case only: a server that compares octets would see no body.
        if lengths or version != (1, 1) or codings != ["chunked"]:
            raise WireError(f"an ambiguous Transfer-Encoding: {codings!r:.80}")
        return Framing.CHUNKED, 0
    if lengths is None:
        return Framing.NONE, 0
    length = _only("Content-Length", lengths)
    if not _LENGTH.fullmatch(length):
        raise WireError(f"an ambiguous Content-Length: {length[:80]!r}")
    return Framing.LENGTH, int(length)


def _options(values: list[str]) -> set[str]:
    """The options of `Connection`, in lower case."""
    options: set[str] = set()
    for value in values:
        for item in value.split(","):
            option = item.strip(" \t").lower()
            if not _OPTION.fullmatch(option) or option in _NOT_HOP_BY_HOP:
                raise WireError(f"not an option of Connection: {option[:80]!r}")
            options.add(option)
    return options


def _upgrade(fields: _Fields) -> str | None:
    """The protocol to change to. A choice of several would be the server's to make.

    Nor may it be one in which the client names a host anew; but for `h2c`, which some
    clients offer with each request and the gateway takes out. Neither `Connection` nor the
    version is asked (RFC 9110 section 7.8): llhttp takes an upgrade that only
    `Proxy-Connection` asks for, or HTTP/1.0, and then reads no body where one is declared.
    """
    offers = fields.get("upgrade")
    if offers is None:
        return None
    offer = _only("Upgrade", offers)
    protocol = offer.lower()
    if not _UPGRADE.fullmatch(offer) or _NAMES_HOSTS.match(protocol):
        raise WireError(f"not one protocol to upgrade to: {offer[:80]!r}")
    return protocol


def _expects_continue(fields: _Fields) -> bool:
    """Whether the client waits for `100 Continue`; all else would be about the body."""
    expected = fields.get("expect")
    if expected is None:
        return False
    if _only("Expect", expected).lower() != "100-continue":
        raise WireError(f"an unknown expectation: {expected[0][:80]!r}")
    return True
