"""The server process of a lab: `python -m tests.lab.servers ID DIRECTORY CONTROL
FENCE`.

Started by `Lab` in the host namespace. CONTROL is the descriptor of a stream socket
that carries one JSON object a line each way; when it ends, for whatever reason, the
process removes the lab and exits. So nothing of a lab outlives its owner, not even a
killed one.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import signal
import socket
import sys
import traceback
from pathlib import Path
from typing import Any, Final

from tests.lab import netns
from tests.lab.addresses import FENCE4, FENCE_PORT
from tests.lab.certificates import Certificates
from tests.lab.dnsserver import DnsServer
from tests.lab.record import Kind, Record
from tests.lab.services import TcpServices
from tests.lab.sockets import enter, open_host, open_inet
from tests.lab.stream import TcpStream
from tests.lab.udpserver import UdpServices
from tests.lab.zone import DEFAULT_ZONE, Name

_QUIET_PASSES: Final = 4
_MOST_PASSES: Final = 2_000
_FENCE_TIMEOUT: Final = 5.0
_ACCEPT_BATCH: Final = 128
_CONTROL_LIMIT: Final = 16_777_216


class Servers:
    """All servers of one lab, and the control channel to its owner."""

    def __init__(self, certificates: Certificates, fence: socket.socket) -> None:
        self.record = Record()
        self._dns = DnsServer(dict(DEFAULT_ZONE))
        self._tcp = TcpServices(self.record, certificates, self._dns)
        self._udp = UdpServices(self.record, self._dns)
        self._fence = fence
        self._fences = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._faults: list[str] = []

    def listen(
        self, sockets: tuple[list[socket.socket], list[socket.socket]], side: str
    ) -> None:
        """Serve these TCP listeners and UDP sockets."""
        loop = asyncio.get_running_loop()
        for listener in sockets[0]:
            loop.add_reader(listener.fileno(), self._accept, listener, side)
        for sock in sockets[1]:
            self._udp.listen(sock, side)

    def _accept(self, listener: socket.socket, side: str) -> None:
        for _ in range(_ACCEPT_BATCH):
            try:
                sock, peer = listener.accept()
            except OSError:  # nothing more, or the client is gone already
                return
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            live = self.record.add(Kind.TCP, side, sock.getsockname()[:2], peer[:2])
            loop = asyncio.get_running_loop()
            task = loop.create_task(self._tcp.serve(TcpStream(sock, live)))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def fault(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Remember an exception of a server: the test that met it must not pass."""
        error = context.get("exception")
        lines = traceback.format_exception(error) if error else [context["message"]]
        self._faults.append("".join(lines))

    async def control(self, channel: socket.socket) -> None:
        """Answer the owner until it closes the channel."""
        reader, writer = await asyncio.open_connection(
            sock=channel, limit=_CONTROL_LIMIT
        )
        with contextlib.suppress(OSError):
            while line := await reader.readline():
                value = await self._operate(json.loads(line))
                answer = {"value": value, "faults": self._faults}
                self._faults = []
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()

    async def _operate(self, request: dict[str, object]) -> object:
        match request["op"]:
            case "sync":
                await self._settle()
                return self.record.take()
            case "wait":
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(float(str(request["seconds"]))):
                        await self.record.changed.wait()
                return self.record.take()
            case "name":
                raw = request["value"]
                if isinstance(raw, dict):
                    self._dns.zone[str(request["name"])] = Name.from_mapping(raw)
                else:
                    self._dns.zone.pop(str(request["name"]), None)
                return None
            case "service":
                self._tcp.by_address[str(request["address"])] = str(request["service"])
                return None
            case other:
                raise ValueError(f"no such operation: {other}")

    async def _settle(self) -> None:
        """Read everything that left the host namespace before now.

        Packets cross the link through one queue per processor. A fence datagram sent
        from each processor arrives after all that was sent before; then the loop runs
        until several passes in a row found nothing more to read.
        """
        async with asyncio.timeout(_FENCE_TIMEOUT):
            self._udp.fences.clear()
            wanted = self._send_fences()
            while not wanted <= self._udp.fences:  # noqa: ASYNC110 - turn the loop
                await asyncio.sleep(0)
        # Data of a connection that never pauses is not waited for: it came later.
        passes = quiet = 0
        while quiet < _QUIET_PASSES and passes < _MOST_PASSES:
            passes += 1
            self.record.changed.clear()
            await asyncio.sleep(0)
            quiet = 0 if self.record.changed.is_set() else quiet + 1

    def _send_fences(self) -> set[bytes]:
        processors = os.sched_getaffinity(0)
        self._fences += 1
        wanted = set()
        for processor in processors:
            with contextlib.suppress(OSError):  # a processor may have gone offline
                os.sched_setaffinity(0, {processor})
            mark = f"{self._fences} {processor}".encode()
            self._fence.sendto(mark, (FENCE4, FENCE_PORT))
            wanted.add(mark)
        os.sched_setaffinity(0, processors)
        return wanted


async def _serve(lab: str, directory: Path, channel: socket.socket) -> None:
    host = open_host()
    fence = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    enter(netns.inet(lab))
    certificates = Certificates(
        (directory / "ca.pem").read_bytes(),
        (directory / "ca.key").read_bytes(),
        directory,
    )
    servers = Servers(certificates, fence)
    asyncio.get_running_loop().set_exception_handler(servers.fault)
    servers.listen(host, "host")
    servers.listen(open_inet(), "inet")
    channel.send(b'"ready"\n')
    await servers.control(channel)


def main() -> None:
    """Serve until the owner is gone, then leave nothing behind."""
    lab, directory, control = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    # The terminal's Ctrl-C is for the owner; this process ends after it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    try:
        asyncio.run(_serve(lab, directory, socket.socket(fileno=control)))
    finally:
        netns.remove(lab)


if __name__ == "__main__":
    main()
