"""Every datagram: recorded, then answered from the address it was sent to.

Port 53 is the resolver; every other port echoes.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Final

from tests.lab.addresses import FENCE4
from tests.lab.dnsserver import DnsServer
from tests.lab.record import Kind, Live, Record
from tests.lab.sockets import answering, destination

_BATCH: Final = 64


class UdpServices:
    """Reads the datagram sockets of the server process."""

    def __init__(self, record: Record, dns: DnsServer) -> None:
        self._record = record
        self._dns = dns
        self.fences: set[bytes] = set()  # the fence datagrams that arrived

    def listen(self, sock: socket.socket, side: str) -> None:
        """Serve *sock* for as long as the loop runs."""
        loop = asyncio.get_running_loop()
        loop.add_reader(sock.fileno(), self._readable, sock, side)

    def _readable(self, sock: socket.socket, side: str) -> None:
        for _ in range(_BATCH):
            try:
                data, ancillary, _, peer = sock.recvmsg(65_535, 256)
            except OSError:  # nothing more, or an ICMP error of an earlier answer
                return
            local = destination(ancillary)
            if local is None:
                continue
            if local[0] == FENCE4:
                self.fences.add(data)
                continue
            for answer in self._serve(data, side, local, peer):
                # A client that is gone, or an address nothing can be sent from.
                with contextlib.suppress(OSError):
                    _send(sock, side, answer, local, peer)

    def _serve(
        self, data: bytes, side: str, local: tuple[str, int], peer: tuple[str, int]
    ) -> list[bytes]:
        if local[1] == 53:
            live = self._record.add(Kind.DNS, side, local, peer)
            return self._dns.answer(data, live, udp=True)
        live = self._record.add(Kind.UDP, side, local, peer)
        _echoed(live, data)
        return [data]


def _echoed(live: Live, data: bytes) -> None:
    live.received(data)
    live.sent(len(data))
    live.close("eof")


def _send(
    sock: socket.socket,
    side: str,
    data: bytes,
    local: tuple[str, int],
    peer: tuple[str, int],
) -> None:
    if (
        side == "host"
    ):  # its socket is in another namespace; the kernel knows the source
        sock.sendto(data, peer)
        return
    with answering(sock.family, local) as reply:
        reply.sendto(data, peer)
