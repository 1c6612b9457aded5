"""Netlink messages made by hand, where an `ip` process would be too slow."""

from __future__ import annotations

import struct

# linux/netlink.h
HEADER = struct.Struct("=IHHII")
ERROR = 2
_REQUEST = 1
_ATTRIBUTE = struct.Struct("=HH")


def render_request(kind: int, sequence: int, body: bytes) -> bytes:
    """One request that asks for an answer, but for no acknowledgement."""
    return HEADER.pack(HEADER.size + len(body), kind, _REQUEST, sequence, 0) + body


def render_attribute(kind: int, value: bytes) -> bytes:
    """One attribute. *value* is a multiple of four octets, so there is no padding."""
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value


def parse_attributes(octets: bytes) -> dict[int, bytes]:
    """The attributes by kind. What does not fit ends them."""
    found: dict[int, bytes] = {}
    position = 0
    while position + _ATTRIBUTE.size <= len(octets):
        length, kind = _ATTRIBUTE.unpack_from(octets, position)
        if length < _ATTRIBUTE.size:
            break
        found[kind] = octets[position + _ATTRIBUTE.size : position + length]
        position += (length + 3) & ~3
    return found
