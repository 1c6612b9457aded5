"""What a client can make the parsers cost by sending one octet at a time.

Each parser is called with every prefix of its most expensive input; a sample of the calls
is measured. The budgets are several times what a slow machine needs.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable

import pytest

from stockade.errors import WireError
from stockade.wire.dns import parse_answer
from stockade.wire.http1 import MAX_FIELDS, MAX_HEAD, RequestStream, parse_request_head
from stockade.wire.sniff import sniff
from stockade.wire.tls import MAX_HELLO, MAX_RECORDS, parse_client_hello
from tests.unit.wire.builders import head, message, padding, records, sni, vector

SAMPLE = 64


def cost(parse: Callable[[bytes], object], data: bytes) -> float:
    """Seconds of CPU for calling *parse* with each prefix of *data*."""
    began = time.process_time()
    for size in range(SAMPLE, len(data), SAMPLE):
        try:
            parse(data[:size])
        except WireError:
            break  # the connection ends here
    return (time.process_time() - began) * SAMPLE


WIDTH = (MAX_HEAD - 100) // MAX_FIELDS - len("X: \r\n")
HEADS = {
    "one long field": head("X: " + "y" * (MAX_HEAD - 100)),
    "as many fields as there may be": head(*["X: " + "y" * WIDTH] * (MAX_FIELDS - 1)),
    "a long request line": head(line=f"GET /{'y' * (MAX_HEAD - 100)} HTTP/1.1"),
    "half and half": head(
        "X: " + "y" * (MAX_HEAD // 2),
        line=f"GET /{'y' * (MAX_HEAD // 2 - 100)} HTTP/1.1",
    ),
}
TEXTS = {
    "a line without end": b"x" * MAX_HEAD,
    "white space": b" " * MAX_HEAD,
    "white space before a word": b" " * (MAX_HEAD // 2) + b"x" * (MAX_HEAD // 2),
    "empty lines": b"\r\n" * (MAX_HEAD // 2),
}


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("parse", [parse_request_head, sniff])
def test_a_head_octet_by_octet(parse, name) -> None:
    assert cost(parse, HEADS[name]) < 10


@pytest.mark.parametrize("name", HEADS)
def test_a_later_head_octet_by_octet(name) -> None:
    stream = RequestStream()
    began = time.process_time()
    events = [e for octet in HEADS[name] for e in stream.receive(bytes((octet,)))]
    assert len(events) == 1
    assert time.process_time() - began < 2


@pytest.mark.parametrize("name", TEXTS)
def test_text_octet_by_octet(name) -> None:
    assert cost(sniff, TEXTS[name]) < 5


@pytest.mark.parametrize("sizes", [[MAX_HELLO], [MAX_HELLO // MAX_RECORDS]])
def test_a_hello_octet_by_octet(sizes) -> None:
    hello = message([sni(b"a.test"), padding(MAX_HELLO - 200)])
    assert cost(parse_client_hello, records(hello, sizes)) < 3


def test_requests_in_one_segment() -> None:
    began = time.process_time()
    assert len(RequestStream().receive(head() * 1_600)) == 1_600
    assert time.process_time() - began < 0.5


def test_a_name_that_many_records_point_to() -> None:
    labels = [b"a"] * 126
    asked = b"".join(vector(1, label) for label in labels) + b"\0\0\1\0\1"
    address = b"\xc0\x0c\0\1\0\1\0\0\0\1\0\4\1\2\3\4"
    data = struct.pack("!6H", 7, 0x8180, 1, 256, 0, 0) + asked + address * 256
    name = b".".join(labels).decode()
    began = time.process_time()
    for _ in range(50):
        parse_answer(data, message_id=7, name=name, qtype=1)
    assert time.process_time() - began < 0.5  # read anew for each record: 0.9
