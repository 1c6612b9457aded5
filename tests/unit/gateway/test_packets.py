"""IP packets made by hand, read by other hands: an independent reader and checksum."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stockade.gateway.packets import (
    MTU,
    port_unreachable,
    prohibited,
    udp_packets,
)
from stockade.policy.guardrails import Address

V4 = (ip_address("203.0.113.53"), 53), (ip_address("100.127.0.3"), 40_000)
V6 = (ip_address("2001:db8::53"), 53), (ip_address("fd53:746f:636b::3"), 40_000)
ICMP, ICMP6 = 1, 58
FRAGMENT6 = 44


def ones_complement(data: bytes) -> int:
    """The sum of RFC 1071, word by word with the carry added at once."""
    total = 0
    for (word,) in struct.iter_unpack("!H", data + bytes(len(data) % 2)):
        total += word
        total = (total & 0xFFFF) + (total >> 16)
    return total


@dataclass
class Packet:
    """One packet as a receiver sees it; *offset* and *more* of its fragment."""

    source: Address
    target: Address
    protocol: int
    identification: int
    offset: int
    more: bool
    payload: bytes


def read(packet: bytes) -> Packet:
    """Read a packet and insist on everything a router would."""
    if packet[0] >> 4 == 4:
        length, ident, flags, hops, protocol = struct.unpack_from("!xxHHHBB", packet)
        assert packet[0] == 0x45
        assert length == len(packet)
        assert hops > 1
        assert ones_complement(packet[:20]) == 0xFFFF
        assert not flags & 0xC000
        source, target = IPv4Address(packet[12:16]), IPv4Address(packet[16:20])
        more, offset = bool(flags & 0x2000), (flags & 0x1FFF) * 8
        return Packet(source, target, protocol, ident, offset, more, packet[20:])
    length, protocol, hops = struct.unpack_from("!4xHBB", packet)
    assert packet[:4] == b"\x60\0\0\0"
    assert length == len(packet) - 40
    assert hops > 1
    source6, target6 = IPv6Address(packet[8:24]), IPv6Address(packet[24:40])
    payload, ident, offset, more = packet[40:], 0, 0, False
    if protocol == FRAGMENT6:
        protocol, field, ident = struct.unpack_from("!BxHI", payload)
        offset, more = field & 0xFFF8, bool(field & 1)
        payload = payload[8:]
    return Packet(source6, target6, protocol, ident, offset, more, payload)


def pseudo(source: Address, target: Address, protocol: int, length: int) -> bytes:
    if source.version == 4:
        tail = struct.pack("!BBH", 0, protocol, length)
    else:
        tail = struct.pack("!IBBBB", length, 0, 0, 0, protocol)
    return source.packed + target.packed + tail


def reassemble(packets: list[bytes]) -> tuple[Packet, bytes]:
    """The datagram that the packets carry, as a receiver puts it together."""
    parts = [read(packet) for packet in packets]
    assert all(len(packet) <= MTU for packet in packets)
    assert len({(p.source, p.target, p.protocol, p.identification) for p in parts}) == 1
    whole = b""
    for part in parts:
        assert part.offset == len(whole)
        assert not part.more or len(part.payload) % 8 == 0
        whole += part.payload
    assert [part.more for part in parts] == [True] * (len(parts) - 1) + [False]
    return parts[0], whole


@pytest.mark.parametrize("ends", [V4, V6], ids=["IPv4", "IPv6"])
@given(payload=st.binary(max_size=4_000) | st.just(bytes(range(256)) * 255))
def test_a_datagram_arrives_as_it_was_sent(ends, payload: bytes) -> None:
    source, target = ends
    first, datagram = reassemble(udp_packets(source, target, payload, 0x1_2345))
    assert (first.source, first.target, first.protocol) == (source[0], target[0], 17)
    ports = struct.unpack_from("!HHHH", datagram)
    assert ports[:3] == (source[1], target[1], 8 + len(payload))
    assert ports[3] != 0  # That would mean "no checksum", which IPv6 forbids.
    header = pseudo(source[0], target[0], 17, len(datagram))
    assert ones_complement(header + datagram) == 0xFFFF
    assert datagram[8:] == payload


@pytest.mark.parametrize(
    ("ends", "most"), [(V4, MTU - 28), (V6, MTU - 48)], ids=["IPv4", "IPv6"]
)
def test_only_what_exceeds_the_mtu_is_split(ends, most: int) -> None:
    assert len(udp_packets(ends[0], ends[1], bytes(most), 1)) == 1
    assert len(udp_packets(ends[0], ends[1], bytes(most + 1), 1)) == 2


@pytest.mark.parametrize("ends", [V4, V6], ids=["IPv4", "IPv6"])
def test_a_checksum_of_zero_is_sent_as_all_ones(ends) -> None:
    """RFC 768: an all-zero checksum says there is none."""
    for guess in range(0x1_0000):
        datagram = reassemble(
            udp_packets(ends[0], ends[1], guess.to_bytes(2, "big"), 0)
        )[1]
        if datagram[6:8] == b"\xff\xff":
            return
    pytest.fail("no payload has this checksum")


@pytest.mark.parametrize(
    ("make", "ends", "protocol", "kind", "code"),
    [
        pytest.param(prohibited, V4, ICMP, 3, 13, id="prohibited"),
        pytest.param(prohibited, V6, ICMP6, 1, 1, id="prohibited, version 6"),
        pytest.param(port_unreachable, V4, ICMP, 3, 3, id="port"),
        pytest.param(port_unreachable, V6, ICMP6, 1, 4, id="port, version 6"),
    ],
)
def test_an_error_goes_back_and_quotes_what_it_answers(
    make, ends, protocol: int, kind: int, code: int
) -> None:
    target, source = ends  # The devbox is the one that sent.
    error = read(make(source, target))
    assert (error.source, error.target) == (target[0], source[0])
    assert (error.protocol, error.offset, error.more) == (protocol, 0, False)
    assert error.payload[:2] == bytes((kind, code))
    header = b""
    if protocol == ICMP6:
        header = pseudo(error.source, error.target, ICMP6, len(error.payload))
    assert ones_complement(header + error.payload) == 0xFFFF
    quoted = read(error.payload[8:])
    assert (quoted.source, quoted.target, quoted.protocol) == (source[0], target[0], 17)
    assert struct.unpack_from("!HH", quoted.payload) == (source[1], target[1])
