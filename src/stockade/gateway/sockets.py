"""What the sockets of a transparent gateway can do that others cannot."""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address

from stockade.gateway import packets
from stockade.policy.guardrails import Address

Endpoint = tuple[Address, int]

_IP_ORIGDSTADDR = 20
_IPV6_ORIGDSTADDR = 74


def original_destination(
    ancillary: Sequence[tuple[int, int, bytes]],
) -> Endpoint | None:
    """Where a datagram was sent to, from the control messages of `recvmsg`."""
    for level, kind, data in ancillary:
        if (level, kind) == (socket.IPPROTO_IP, _IP_ORIGDSTADDR):
            port, packed = struct.unpack_from("!2xH4s", data)
            return IPv4Address(packed), port
        if (level, kind) == (socket.IPPROTO_IPV6, _IPV6_ORIGDSTADDR):
            port, packed = struct.unpack_from("!2xH4x16s", data)
            return IPv6Address(packed), port
    return None


class Datagrams:
    """Sends datagrams and ICMP errors to devboxes from addresses that are not ours.

    A packet that cannot be sent is lost, as packets are: the devbox is gone or full.
    """

    def __init__(self, raw4: socket.socket, raw6: socket.socket) -> None:
        self._raw4 = raw4
        self._raw6 = raw6
        self._identification = 0

    def send(self, source: Endpoint, target: Endpoint, payload: bytes) -> None:
        """Send *payload* to the devbox at *target* as if *source* had."""
        self._identification += 1
        for packet in packets.udp_packets(
            source, target, payload, self._identification
        ):
            self._write(target, packet)

    def prohibit(self, source: Endpoint, target: Endpoint) -> None:
        """Tell the devbox at *source* that it may not send to *target*."""
        self._write(source, packets.prohibited(source, target))

    def unreachable(self, source: Endpoint, target: Endpoint) -> None:
        """Tell the devbox at *source* that nobody listens at *target*."""
        self._write(source, packets.port_unreachable(source, target))

    def _write(self, target: Endpoint, packet: bytes) -> None:
        raw = self._raw4 if isinstance(target[0], IPv4Address) else self._raw6
        try:
            raw.sendto(packet, (str(target[0]), 0))
        except OSError:
            pass
