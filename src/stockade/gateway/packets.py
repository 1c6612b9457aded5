"""Renders the packets that the gateway sends through its raw sockets.

A transparent gateway answers from addresses that are not its own: the one the devbox
sent to. For UDP it writes those packets itself, and for denials the ICMP errors (RFC
792, 4443).
"""

from __future__ import annotations

import struct
from ipaddress import IPv4Address

from stockade.policy.guardrails import Address

MTU = 1_500
UDP = 17

_HOPS = 64
_V4_HEADER = 20
_V6_HEADER = 40
_V6_FRAGMENT = 44
_MORE = 0x2000
#: ICMP type and code: destination unreachable, administratively prohibited / port.
_PROHIBITED = {4: (3, 13), 6: (1, 1)}
_PORT_UNREACHABLE = {4: (3, 3), 6: (1, 4)}


def udp_packets(
    source: tuple[Address, int],
    target: tuple[Address, int],
    payload: bytes,
    identification: int,
) -> list[bytes]:
    """A datagram as IP packets: several when it is longer than the MTU."""
    length = 8 + len(payload)
    header = struct.pack("!HHHH", source[1], target[1], length, 0)
    pseudo = _pseudo(source[0], target[0], UDP, length)
    # A checksum of 0 means "none"; one that comes out as 0 is sent as its complement.
    checksum = _checksum(pseudo + header + payload) or 0xFFFF
    datagram = header[:6] + checksum.to_bytes(2, "big") + payload
    if source[0].version == 4:
        return _split_v4(source[0], target[0], datagram, identification)
    return _split_v6(source[0], target[0], datagram, identification)


def prohibited(source: tuple[Address, int], target: tuple[Address, int]) -> bytes:
    """The ICMP error "administratively prohibited" for a datagram source -> target."""
    return _unreachable(_PROHIBITED, source, target)


def port_unreachable(source: tuple[Address, int], target: tuple[Address, int]) -> bytes:
    """The ICMP error "port unreachable" for a datagram source -> target."""
    return _unreachable(_PORT_UNREACHABLE, source, target)


def _unreachable(
    kinds: dict[int, tuple[int, int]],
    source: tuple[Address, int],
    target: tuple[Address, int],
) -> bytes:
    """An error from *target* to *source*, quoting the start of the datagram it answers.

    The quoted header is rebuilt: a receiver finds the socket by its addresses and
    ports.
    """
    version = source[0].version
    kind, code = kinds[version]
    quoted = udp_packets(source, target, b"", 0)[0]
    body = struct.pack("!BBHI", kind, code, 0, 0) + quoted
    pseudo = _pseudo(target[0], source[0], 58, len(body)) if version == 6 else b""
    checksum = _checksum(pseudo + body)
    body = body[:2] + checksum.to_bytes(2, "big") + body[4:]
    if version == 4:
        return _v4_header(target[0], source[0], len(body), 0, 0, 1) + body
    return _v6_header(target[0], source[0], len(body), 58) + body


def _split_v4(
    source: Address, target: Address, datagram: bytes, identification: int
) -> list[bytes]:
    room = (MTU - _V4_HEADER) // 8 * 8
    packets = []
    for offset in range(0, len(datagram), room):
        part = datagram[offset : offset + room]
        more = _MORE if offset + room < len(datagram) else 0
        flags = more | offset // 8
        header = _v4_header(source, target, len(part), identification, flags, UDP)
        packets.append(header + part)
    return packets


def _split_v6(
    source: Address, target: Address, datagram: bytes, identification: int
) -> list[bytes]:
    if len(datagram) <= MTU - _V6_HEADER:
        return [_v6_header(source, target, len(datagram), UDP) + datagram]
    room = (MTU - _V6_HEADER - 8) // 8 * 8
    packets = []
    for offset in range(0, len(datagram), room):
        part = datagram[offset : offset + room]
        more = offset + room < len(datagram)
        fragment = struct.pack("!BBHI", UDP, 0, offset | more, identification)
        header = _v6_header(source, target, 8 + len(part), _V6_FRAGMENT)
        packets.append(header + fragment + part)
    return packets


def _v4_header(
    source: Address,
    target: Address,
    length: int,
    identification: int,
    flags: int,
    protocol: int,
) -> bytes:
    header = struct.pack(
        "!BBHHHBBH4s4s",
        0x45,
        0,
        _V4_HEADER + length,
        identification & 0xFFFF,
        flags,
        _HOPS,
        protocol,
        0,
        source.packed,
        target.packed,
    )
    return header[:10] + _checksum(header).to_bytes(2, "big") + header[12:]


def _v6_header(source: Address, target: Address, length: int, following: int) -> bytes:
    return (
        struct.pack("!IHBB", 6 << 28, length, following, _HOPS)
        + source.packed
        + target.packed
    )


def _pseudo(source: Address, target: Address, protocol: int, length: int) -> bytes:
    if isinstance(source, IPv4Address):
        return source.packed + target.packed + struct.pack("!BBH", 0, protocol, length)
    return source.packed + target.packed + struct.pack("!II", length, protocol)


def _checksum(data: bytes) -> int:
    """RFC 1071. The sum of 16-bit words modulo 65535 is the number modulo 65535."""
    if len(data) % 2:
        data += b"\0"
    total = int.from_bytes(data, "big")
    remainder = total % 0xFFFF
    # All ones and all zeroes are the same number here; only zero words give zeroes.
    if remainder == 0 and total:
        remainder = 0xFFFF
    return 0xFFFF - remainder
