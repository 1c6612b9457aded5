"""Request heads and the requests of a connection, beside h11 and llhttp.

If we accept, both must read the same or refuse. What is excepted, and why:

- `CONNECT`: its authority is in the target, and the gateway refuses it anyway;
- after the last request of a connection (`Connection: close`) they stop reading, and we
  read on as if there were another;
- a request for an upgrade is compared without it, as the gateway forwards one that is not
  the first of its connection or has a body.
"""

from __future__ import annotations

from collections.abc import Callable

from fuzz.oracles import Read, h11_reads, llhttp_reads, target_host
from fuzz.target import Finding, Target, chance, expect, is_due
from stockade.errors import WireError
from stockade.wire.http1 import (
    Framing,
    HeadEvent,
    RequestHead,
    RequestStream,
    parse_request_head,
    rewrite_without_upgrade,
)
from tests.unit.wire.builders import head

_PROBE = 4_096
# One input in so many, since it costs a hundred calls.
_OCTET_BY_OCTET = 64
_BY_H11 = 4

Parse = Callable[[bytes], RequestHead | None]


def check_head(data: bytes, parse: Parse = parse_request_head) -> None:
    """One request head: host, target and framing as h11 and llhttp have them."""
    try:
        ours = parse(data)
    except WireError:
        return
    if ours is None:
        return
    raw = data[: ours.size]
    expect(raw.endswith(b"\r\n\r\n"), "a head without its end", raw)
    expect(parse(raw) == ours, "an answer that depends on what follows")
    _check_rewritten(ours, raw)
    if ours.method != "CONNECT":
        forwarded = as_forwarded(ours, raw)
        _check_framing(ours, forwarded, llhttp_reads)
        if is_due(raw, _BY_H11):
            _check_framing(ours, forwarded, h11_reads)


def as_forwarded(head: RequestHead, raw: bytes) -> bytes:
    """The head as the gateway sends it on where it does not let the protocol change.

    Servers that use llhttp read no body in a request for an upgrade, whatever it declares.
    """
    return raw if head.upgrade is None else rewrite_without_upgrade(raw)


def _check_rewritten(ours: RequestHead, raw: bytes) -> None:
    """The same request without its offer to upgrade is otherwise the same."""
    rewritten = rewrite_without_upgrade(raw)
    found = parse_request_head(rewritten)
    if found is None:
        raise Finding("a head that is none without its upgrade")
    expect(found.upgrade is None and found.size == len(rewritten), "upgrade", rewritten)
    expect((found.host, found.port) == (ours.host, ours.port), "host", rewritten)
    expect((found.method, found.target) == (ours.method, ours.target), "line")
    expect(found.content_length == ours.content_length, "length", rewritten)
    expect(found.framing is ours.framing, "framing", rewritten)


Reads = Callable[[bytes], tuple[list[Read], bool]]


def _check_framing(ours: RequestHead, raw: bytes, reads: Reads) -> None:
    """The end of the request is where we say, not one octet before or after."""
    requests, _ = reads(raw)
    if not requests:
        return  # refused
    expect(len(requests) == 1, "more than one request in a head", raw)
    same_request(ours, requests[0])
    done = requests[0].is_complete
    if ours.framing is Framing.NONE or not (
        ours.framing is Framing.CHUNKED or ours.content_length
    ):
        expect(done, "a body where we see none", raw)
        return
    expect(not done, "no body where we see one", raw)
    if ours.framing is Framing.LENGTH and ours.content_length <= _PROBE:
        body = b"x" * ours.content_length
        before, after = reads(raw + body[:-1])[0], reads(raw + body)[0]
        expect(not before[0].is_complete, "a shorter body", raw)
        expect(after[0].is_complete and after[0].body == body, "a longer body", raw)


def same_request(ours: RequestHead, theirs: Read) -> None:
    """Compare what a request is for."""
    expect(ours.method == theirs.method, "method", ours.method, theirs.method)
    expect(ours.target == theirs.target, "target", ours.target, theirs.target)
    named = None if ours.method == "CONNECT" else target_host(theirs.target)
    literal = ours.host.lower().strip("[]")
    expect(named is None or named.lower() == literal, "target's host", named, ours.host)
    port = "" if ours.port is None else f":{ours.port}"
    expect(
        theirs.hosts == [ours.host + port] or ours.method == "CONNECT",
        "host",
        ours.host + port,
        theirs.hosts,
    )


Told = list[RequestHead | bytes]


def replay(pieces: list[bytes]) -> tuple[Told, bytes, bool]:
    """What a stream makes of *pieces*: events, all that would be forwarded, an error."""
    stream = RequestStream()
    told: Told = []
    raws: list[bytes] = []
    received = reported = 0
    for piece in (*pieces, b""):
        try:
            events = stream.receive(piece)
        except WireError:
            return told, b"".join(raws), True
        for event in events:
            reported += len(event.raw)
            if isinstance(event, HeadEvent):
                raws.append(as_forwarded(event.head, event.raw))
                told.append(event.head)
                continue
            raws.append(event.raw)
            if told and isinstance(told[-1], bytes):
                told[-1] += event.raw
            else:
                told.append(event.raw)
        received += len(piece)
        left = len(stream.unread)
        expect(reported + left == received, "octets lost or added")
        expect(not (stream.spliceable and left), "octets kept that belong to a body")
    return told, b"".join(raws), False


def check_stream(data: bytes) -> None:
    """Cut anywhere, the same events; and what is forwarded is read as the same requests."""
    whole = replay([data])
    if is_due(data, 2):
        cuts = chance(data, len(data) + 1), chance(data[::-1], len(data) + 1)
        one, two = sorted(cuts)
        pieces = replay([data[:one], data[one:two], data[two:]])
        expect(pieces == whole, "events depend on the cuts", one, two)
    if is_due(data, _OCTET_BY_OCTET):
        single = replay([bytes((octet,)) for octet in data])
        expect(single == whole, "events depend on single octets")
    told, forwarded, _ = whole
    if forwarded:
        check_forwarded([t for t in told if not isinstance(t, bytes)], forwarded)


def check_forwarded(ours: list[RequestHead], forwarded: bytes) -> None:
    """Nobody reads another request than we do, or one of another host."""
    others = [llhttp_reads]
    if is_due(forwarded, _BY_H11):
        others.append(h11_reads)
    for reads in others:
        theirs, went_on = reads(forwarded)
        for our, their in zip(ours, theirs, strict=False):
            same_request(our, their)
            if our.method == "CONNECT":
                break
        else:
            expect(len(theirs) <= len(ours), "more requests than we saw", forwarded)
            stops = not all(h.keep_alive for h in ours)
            expect(
                not went_on or stops or len(theirs) == len(ours),
                "fewer requests than we saw",
                forwarded,
            )


_CHUNKED = head("Transfer-Encoding: chunked", line="POST / HTTP/1.1")
_WORDS = tuple(
    word.encode("latin-1")
    for word in "Host: d.test\r\n|host:a.test\r\n|Content-Length: 5\r\n|\r\n\r\n|\r\n"
    "|0\r\n\r\n|Transfer-Encoding: chunked\r\n|GET / HTTP/1.1\r\n| HTTP/1.0\r\n|http://d.test"
    "|https://a.test:443|Connection: close\r\n|Connection: upgrade\r\n|Proxy-"
    "|Upgrade: websocket\r\n|Expect: 100-continue\r\n|CONNECT a.test:443|OPTIONS *"
    "|Content-Length: 0\r\n|, |: |:|\t|[::1]|:80|@|\x00|\xa0|\x85".split("|")
)
_HEADS = (
    head(),
    head("Content-Length: 5", line="POST /x?y HTTP/1.1"),
    _CHUNKED,
    head(line="GET http://a.test/ HTTP/1.1"),
    head(line="OPTIONS * HTTP/1.1"),
    head(line="CONNECT a.test:443 HTTP/1.1", host="a.test:443"),
    head(line="GET / HTTP/1.0"),
    head("Connection: Upgrade", "Upgrade: websocket"),
    head("Connection: keep-alive, Upgrade", "Upgrade: h2c", "HTTP2-Settings: AAAA"),
    head("Expect: 100-continue", "Content-Length: 3", line="PUT / HTTP/1.1"),
    head("X: y", "Cookie: \xe9=\xff; x", "Accept: */*", host="A.Test:8080"),
    head(host="[2001:db8::1]:80"),
    head("Connection: close"),
    head("Host: d.test"),
    head("X: y\r\n Host: d.test"),
    head("Content-Length: 5", "Content-Length: 6", line="PUT / HTTP/1.1"),
    head("Transfer-Encoding: chunked", "Content-Length: 5", line="PUT / HTTP/1.1"),
    head("Transfer-Encoding: xchunked", line="PUT / HTTP/1.1"),
    head(line="GET http://d.test/ HTTP/1.1"),
    head("Proxy-Connection: upgrade", "Upgrade: x", "Content-Length: 5"),
    head(
        "Connection: Upgrade", "Upgrade: x", "Content-Length: 5", line="PUT / HTTP/1.0"
    ),
)

HEAD = Target("http_head", check_head, _HEADS, _WORDS, max_len=600, cost=6)
STREAM = Target(
    "http_stream",
    check_stream,
    (
        *_HEADS,
        head() * 3,
        head("Content-Length: 5", line="POST / HTTP/1.1") + b"hello" + head(),
        _CHUNKED + b"3\r\nabc\r\n00A\r\n0123456789\r\n0\r\n\r\n" + head(),
        _CHUNKED + b"0\r\nX: y\r\n\r\n",
        head("Connection: close") + head(host="d.test"),
        head("Content-Length: 32", line="POST / HTTP/1.1") + head(host="d.test"),
        head("Proxy-Connection: upgrade", "Upgrade: x", "Content-Length: 32")
        + head(host="d.test"),
    ),
    (*_WORDS, b"5\r\nhello\r\n", b"FFFFFFFF\r\n", b"1;x=y\r\n"),
    max_len=600,
    cost=8,
)
