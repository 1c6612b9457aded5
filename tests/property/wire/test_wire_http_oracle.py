"""Requests as h11 reads them: what we accept, it accepts, with the same host and length."""

from __future__ import annotations

import h11
from h11._connection import _body_framing
from hypothesis import given
from hypothesis import strategies as st

from stockade.wire.http1 import (
    Framing,
    HeadEvent,
    RequestHead,
    RequestStream,
    parse_request_head,
    rewrite_without_upgrade,
)
from tests.property.wire.strategies import (
    ERROR,
    GOOD_FIELDS,
    LINES,
    damaged,
    heads,
    law,
    outcome,
    requests,
)
from tests.unit.wire.builders import head

FRAMINGS = {"content-length": Framing.LENGTH, "chunked": Framing.CHUNKED}
IN_ORDER = st.builds(
    lambda line, fields: head(*fields, line=line),
    st.sampled_from(
        ["GET / HTTP/1.1", "PUT http://a.test/x HTTP/1.1", "OPTIONS * HTTP/1.1"]
    ),
    st.lists(GOOD_FIELDS, max_size=3, unique=True),
)
HEADS = st.one_of(heads(), IN_ORDER, damaged(IN_ORDER), damaged(heads()))


def h11_reads(data: bytes) -> h11.Request:
    server = h11.Connection(h11.SERVER, max_incomplete_event_size=100_000)
    server.receive_data(data)
    event = server.next_event()
    assert isinstance(event, h11.Request)
    return event


def agree(ours: RequestHead, theirs: h11.Request) -> None:
    assert theirs.method.decode() == ours.method
    assert theirs.target.decode() == ours.target
    assert theirs.http_version == b"%d.%d" % ours.version
    hosts = [value.decode() for name, value in theirs.headers if name == b"host"]
    port = "" if ours.port is None else f":{ours.port}"
    assert ours.method == "CONNECT" or hosts == [ours.host + port]
    kind, details = _body_framing(theirs.method, theirs)
    assert ours.framing in (FRAMINGS[kind], Framing.NONE)
    assert details == ((ours.content_length,) if kind == "content-length" else ())


@law
@given(data=HEADS)
def test_h11_reads_the_same_from_a_head_we_accept(data) -> None:
    ours = outcome(parse_request_head, data)
    if ours is not None and ours is not ERROR:
        agree(ours, h11_reads(data))


@law
@given(data=HEADS, line=LINES)
def test_a_head_without_its_upgrade_is_otherwise_the_same(data, line) -> None:
    ours = outcome(parse_request_head, data)
    if ours is None or ours is ERROR:
        return
    rewritten = rewrite_without_upgrade(data[: ours.size])
    found = parse_request_head(rewritten)
    assert found is not None
    assert found.upgrade is None
    assert found.size == len(rewritten)
    for name in RequestHead.__slots__:
        assert name in ("upgrade", "size") or getattr(found, name) == getattr(
            ours, name
        )
    assert rewrite_without_upgrade(rewritten) == rewritten


def bodies(events: list) -> list[tuple[RequestHead, bytes]]:
    """Each head with the octets of its body, framing and all."""
    found: list[tuple[RequestHead, bytes]] = []
    for event in events:
        if isinstance(event, HeadEvent):
            found.append((event.head, b""))
        else:
            found[-1] = (found[-1][0], found[-1][1] + event.raw)
    return found


def h11_body(server: h11.Connection) -> bytes | None:
    """The body of the request that *server* is at; None while it is not all there."""
    body = b""
    while True:
        event = server.next_event()
        match event:
            case h11.Data():
                body += event.data
            case h11.EndOfMessage():
                return body
            case _:
                return None


def unchunked(body: bytes) -> bytes:
    out = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        out, body = out + body[: int(size, 16)], body[int(size, 16) + 2 :]
    return out


@law
@given(data=requests() | damaged(requests()))
def test_h11_finds_the_same_requests_on_a_connection(data) -> None:
    stream = RequestStream()
    events = outcome(stream.receive, data)
    if events is ERROR:
        return
    server = h11.Connection(h11.SERVER)
    server.receive_data(b"".join(event.raw for event in events))  # what is forwarded
    for ours, body in bodies(events):
        request = server.next_event()
        assert isinstance(request, h11.Request)
        agree(ours, request)
        theirs = h11_body(server)
        if theirs is None:
            return
        plain = unchunked(body) if ours.framing is Framing.CHUNKED else body
        assert plain == theirs
        if ours.method == "CONNECT":
            return
        server.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
        server.send(h11.EndOfMessage())
        if not ours.keep_alive:
            return
        server.start_next_cycle()
