"""The contract of every parser of `stockade.wire`, on bytes of any kind."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stockade.errors import WireError
from stockade.wire.dns import parse_answer, parse_query, render_query
from stockade.wire.dns_names import read_name
from stockade.wire.http1 import (
    HeadEvent,
    RequestHead,
    RequestStream,
    parse_request_head,
)
from stockade.wire.sniff import Protocol, sniff
from stockade.wire.tls import parse_client_hello
from tests.property.wire.strategies import (
    ERROR,
    damaged,
    heads,
    hellos,
    law,
    outcome,
    requests,
    split,
)

ANY = st.one_of(st.binary(max_size=80), damaged(hellos()), damaged(heads()))
INCREMENTAL = pytest.mark.parametrize(
    "parse", [parse_client_hello, parse_request_head, sniff], ids=lambda p: p.__name__
)


@INCREMENTAL
@law
@given(data=ANY, more=ANY)
def test_an_answer_is_never_taken_back(parse, data, more) -> None:
    """Byte at a time, at once, and with anything after it: one and the same outcome."""
    answer = None
    for size in range(len(data) + 1):
        found = outcome(parse, data[:size])
        assert answer is None or found == answer
        answer = found
    if answer is not None:
        assert outcome(parse, data + more) == answer


@law
@given(data=st.binary(max_size=80) | damaged(st.just(render_query(7, "a.test", 1))))
def test_only_wire_errors_leave_the_dns_parsers(data) -> None:
    outcome(parse_query, data)
    outcome(lambda d: parse_answer(d, message_id=7, name="a.test", qtype=1), data)


@law
@given(
    data=st.lists(
        st.sampled_from([b"\1a", b"\2bc", b"\0"])
        | st.integers(12, 40).map(lambda at: bytes((0xC0, at))),
        max_size=20,
    ).map(lambda parts: bytes(12) + b"".join(parts))
)
def test_a_name_is_the_same_whatever_was_read_before(data) -> None:
    known: dict[int, str] = {}
    for at in range(12, len(data)):
        assert name_at(data, at, known) == name_at(data, at, {})


def name_at(data: bytes, at: int, known: dict[int, str]) -> object:
    try:
        return read_name(data, at, known)
    except (WireError, IndexError):
        return ERROR


@law
@given(data=ANY)
def test_what_is_sniffed_is_what_the_parsers_read(data) -> None:
    found = outcome(sniff, data)
    if found is None or found is ERROR:
        return
    match found.protocol:
        case Protocol.TLS if data[0] == 22:
            assert found.hello == parse_client_hello(data)
            assert found.name == found.hello.server_name
        case Protocol.HTTP:
            assert found.head == parse_request_head(data)
            assert found.name == found.head.host
        case Protocol.OPAQUE:
            assert outcome(parse_client_hello, data) in (ERROR, None)
            assert outcome(parse_request_head, data) in (ERROR, None)


def replay(pieces: list[bytes]) -> tuple[list[RequestHead | bytes], bool]:
    """The heads and bodies a stream makes of *pieces*, and whether it ended in error."""
    stream = RequestStream()
    told: list[RequestHead | bytes] = []
    received = reported = 0
    for piece in [*pieces, b""]:
        try:
            events = stream.receive(piece)
        except WireError:
            return told, True
        for event in events:
            reported += len(event.raw)
            if isinstance(event, HeadEvent):
                told.append(event.head)
            elif told and isinstance(told[-1], bytes):
                told[-1] += event.raw
            else:
                told.append(event.raw)
        received += len(piece)
        assert reported + len(stream.unread) == received
        assert stream.spliceable == 0 or not stream.unread
    return told, False


@law
@given(pieces=split(damaged(requests())))
def test_a_stream_does_not_depend_on_how_it_was_split(pieces) -> None:
    data = b"".join(pieces)
    whole = replay([data])
    assert replay(pieces) == whole
    assert replay([data[at : at + 1] for at in range(len(data))]) == whole
