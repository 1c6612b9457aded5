"""Netlink messages: what is rendered is read back, and any octets are read."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from stockade.host.netlink import (
    HEADER,
    parse_attributes,
    render_attribute,
    render_request,
)


@given(st.dictionaries(st.integers(0, 2**16 - 1), st.binary(min_size=4, max_size=4)))
def test_attributes_are_read_as_rendered(attributes):
    octets = b"".join(render_attribute(*item) for item in attributes.items())
    assert parse_attributes(octets) == attributes


@given(st.binary(max_size=200))
def test_any_octets_are_read(octets):
    assert sum(map(len, parse_attributes(octets).values())) <= len(octets)


def test_padding_is_passed_over():
    name = struct.pack("=HH5s3x", 9, 6, b"noop\0")
    assert parse_attributes(name + render_attribute(1, b"next")) == {
        6: b"noop\0",
        1: b"next",
    }


def test_a_request_tells_its_length():
    request = render_request(18, 7, b"body")
    assert HEADER.unpack_from(request) == (len(request), 18, 1, 7, 0)
