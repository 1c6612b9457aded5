"""The uplink's facts, as far as they need no kernel."""

from __future__ import annotations

import errno
import struct
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stockade.host import uplink
from stockade.host.uplink import HostUplink, parse_resolv_conf, parse_route_answer


def answer(kind, *, sequence=7, route_type=1, code=0):
    if kind == 2:
        body = struct.pack("=i", code) + bytes(24)
    else:
        body = struct.pack("=BBBBBBBBI", 2, 32, 0, 0, 254, 0, 0, route_type, 0)
    return struct.pack("=IHHII", 16 + len(body), kind, 0, sequence, 0) + body


@pytest.mark.parametrize(
    ("route_type", "expected"),
    [(1, False), (2, True), (3, True), (4, True), (5, True), (6, True), (0, True)],
)
def test_only_a_route_to_somebody_else_is_not_ours(route_type, expected):
    assert parse_route_answer(answer(24, route_type=route_type), 7) is expected


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (-errno.ENETUNREACH, False),
        (-errno.EHOSTUNREACH, False),
        (-errno.EINVAL, True),
        (-errno.EPERM, True),
        (0, True),
    ],
)
def test_errors_other_than_unreachable_count_as_ours(code, expected):
    assert parse_route_answer(answer(2, code=code), 7) is expected


def test_an_answer_to_another_question_is_passed_over():
    assert parse_route_answer(answer(24, sequence=6), 7) is None


@given(st.binary(max_size=64), st.integers(0, 2**32 - 1))
def test_no_answer_raises(raw, sequence):
    assert parse_route_answer(raw, sequence) in (True, False, None)


@given(st.ip_addresses())
def test_a_question_tells_its_length(address):
    query = uplink.render_route_query(address, 1)
    assert struct.unpack_from("=I", query)[0] == len(query)
    assert query.endswith(address.packed)


@given(st.ip_addresses())
def test_before_start_every_address_is_ours(address):
    assert HostUplink().is_host_address(address) is True


def test_resolv_conf_as_the_c_library_reads_it():
    text = """\
# a comment
; another
domain lab.test
nameserver 192.0.2.53
  nameserver\t2001:db8::53
nameserver not-an-address
nameserver
options ndots:5 nameserver 192.0.2.1
nameserver fe80::1%eth0 trailing words
nameserver 192.0.2.54
"""
    assert parse_resolv_conf(text) == (
        IPv4Address("192.0.2.53"),
        IPv6Address("2001:db8::53"),
        IPv6Address("fe80::1%eth0"),
    )


@given(st.text(max_size=200))
def test_any_text_is_read_without_an_error(text):
    assert len(parse_resolv_conf(text)) <= 3


def test_resolvers_are_read_anew_when_the_file_changes(tmp_path):
    path = tmp_path / "resolv.conf"
    facts = HostUplink(path)
    assert facts.resolvers() == ()
    path.write_text("nameserver 192.0.2.1\n")
    assert facts.resolvers() == (ip_address("192.0.2.1"),)
    path.write_text("nameserver 192.0.2.100\n")
    assert facts.resolvers() == (ip_address("192.0.2.100"),)
    path.unlink()
    assert facts.resolvers() == ()
