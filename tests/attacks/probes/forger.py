"""Sends packets that no socket would make, by the interface's own hand.

`forger.py SOURCE4 SOURCE6 TARGET4 TARGET6 NEXT_HOP [KIND]`, as root of the machine in the
network namespace of a devbox: more than root of the devbox can do. Prints how many
packets of each kind it sent. Standard library only.
"""

from __future__ import annotations

import json
import socket
import struct
import sys
from collections.abc import Iterator
from ipaddress import ip_address

SOURCE4, SOURCE6, TARGET4, TARGET6, NEXT_HOP = sys.argv[1:6]
ONLY = sys.argv[6] if len(sys.argv) > 6 else None
SYN, FIN, RST, PSH, ACK, URG = 2, 1, 4, 8, 16, 32


def checksum(data: bytes) -> int:
    """The Internet checksum."""
    padded = data + bytes(len(data) % 2)
    total = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def packet(
    version: int,
    protocol: int,
    payload: bytes,
    *,
    ttl: int = 64,
    flags: int = 0,
    length: int | None = None,
    source: str | None = None,
) -> bytes:
    """An IP packet from the devbox to the target."""
    own = ip_address(source or (SOURCE4 if version == 4 else SOURCE6)).packed
    to = ip_address(TARGET4 if version == 4 else TARGET6).packed
    if version == 6:
        size = len(payload) if length is None else length
        return struct.pack("!IHBB", 6 << 28, size, protocol, ttl) + own + to + payload
    size = 20 + len(payload) if length is None else length
    head = (
        struct.pack("!BBHHHBBH", 0x45, 0, size, 7, flags, ttl, protocol, 0) + own + to
    )
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload


def summed(version: int, protocol: int, segment: bytes, at: int) -> bytes:
    """*segment* with its checksum, which stands at an offset."""
    own, to = (SOURCE4, TARGET4) if version == 4 else (SOURCE6, TARGET6)
    pseudo = ip_address(own).packed + ip_address(to).packed
    pseudo += struct.pack("!IHBB", len(segment), 0, 0, protocol)
    value = checksum(pseudo + segment) or 0xFFFF
    return segment[:at] + struct.pack("!H", value) + segment[at + 2 :]


def udp(
    version: int, data: bytes, *, source: int = 4000, port: int = 7777, length: int = 0
) -> bytes:
    """A datagram with its checksum, and any length in its header."""
    head = struct.pack("!HHHH", source, port, length or 8 + len(data), 0)
    return summed(version, 17, head + data, 6)


def tcp(
    version: int,
    flags: int,
    data: bytes = b"",
    *,
    source: int = 4000,
    port: int = 7777,
    options: bytes = b"",
) -> bytes:
    """A segment of a connection that is not there."""
    words = (5 + len(options) // 4) << 4
    fixed = (source, port, 1000, 0, words, flags, 1024, 0, 0)
    head = struct.pack("!HHIIBBHHH", *fixed) + options
    return summed(version, 6, head + data, 16)


def datagrams(version: int) -> Iterator[tuple[str, bytes]]:
    """Datagrams with something odd in their headers."""
    data = b"forged"
    whole = udp(version, data)
    yield "ordinary", packet(version, 17, whole)
    yield "from port 0", packet(version, 17, udp(version, data, source=0))
    yield "to port 0", packet(version, 17, udp(version, data, port=0))
    yield "both ports 0", packet(version, 17, udp(version, data, source=0, port=0))
    yield "empty", packet(version, 17, udp(version, b""))
    for length in (1, 7, 8, 9, 13, 200, 65_535):
        wrong = udp(version, data, length=length)
        yield f"length {length}", packet(version, 17, wrong)
    yield "no checksum", packet(version, 17, whole[:6] + b"\0\0" + data)
    yield "wrong checksum", packet(version, 17, whole[:6] + b"\1\1" + data)
    yield "half a header", packet(version, 17, whole[:4])
    yield "nothing", packet(version, 17, b"")
    for ttl in (0, 1, 255):
        yield f"{ttl} hops", packet(version, 17, whole, ttl=ttl)
    yield "trailing octets", packet(version, 17, whole + b"more")
    yield "short", packet(version, 17, whole, length=24 if version == 4 else 4)
    yield "long", packet(version, 17, whole, length=4000)
    if version == 4:
        yield "evil bit", packet(version, 17, whole, flags=0x8000)
        yield "to itself", packet(version, 17, whole, source=TARGET4)


def segments(version: int) -> Iterator[tuple[str, bytes]]:
    """Segments with odd flags, data in the SYN, early data of TCP Fast Open."""
    request = b"GET / HTTP/1.1\r\nHost: d.test\r\n\r\n"
    cookie = bytes.fromhex("220a0123456789abcdef0101")
    for name, flags in (
        *(("null", 0), ("FIN", FIN), ("RST", RST), ("ACK", ACK), ("PSH", PSH | ACK)),
        *(("SYN+FIN", SYN | FIN), ("SYN+RST", SYN | RST), ("SYN+ACK", SYN | ACK)),
        *(("all", 0xFF), ("xmas", FIN | PSH | URG), ("SYN+ECN", SYN | 0xC0)),
        ("SYN+URG", SYN | URG),
    ):
        yield name, packet(version, 6, tcp(version, flags, request))
    yield "data in the SYN", packet(version, 6, tcp(version, SYN, request, port=80))
    early = tcp(version, SYN, request, port=80, options=cookie)
    yield "fast open", packet(version, 6, early)
    yield "SYN from port 0", packet(version, 6, tcp(version, SYN, source=0))
    yield "SYN to port 0", packet(version, 6, tcp(version, SYN, port=0))
    yield "half a header", packet(version, 6, tcp(version, SYN)[:10])
    short = bytearray(tcp(version, SYN))
    short[12] = 0x10
    yield "header of 4 octets", packet(version, 6, bytes(short))


def main() -> None:
    """Send all packets to the gateway's end of the link."""
    peer = bytes.fromhex(NEXT_HOP.replace(":", ""))
    sent = []
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as link:
        link.bind(("eth0", 0))
        own = link.getsockname()[4]
        for version, kind in ((4, 0x0800), (6, 0x86DD)):
            for make in (datagrams, segments):
                for name, made in make(version):
                    if ONLY in (None, name):
                        link.send(peer + own + struct.pack("!H", kind) + made)
                        sent.append(name)
    print(json.dumps(sent))


if __name__ == "__main__":
    main()
