"""The near side: small clients, run where the devbox is. Each prints one JSON object.

    near.py connect ADDRESSES PORT COUNT        connect, send an octet, have it back
    near.py connections ADDRESSES PORT SECONDS  the same, 32 at a time
    near.py rtt ADDRESSES PORT COUNT            octets on one open connection
    near.py datagrams ADDRESSES PORT SECONDS    datagrams, 32 on their way at a time
    near.py hold ADDRESSES PORT COUNT           so many open connections, until input ends
    near.py flood ADDRESSES PORT SECONDS        open connections as fast as it goes

Times are in milliseconds, rates in one a second.
"""

from __future__ import annotations

import json
import resource
import select
import socket
import struct
import sys
import time
from collections.abc import Callable, Sequence

PARALLEL = 32
OCTET = b"\x01"  # No text that could become a request.
_RESET = struct.pack("ii", 1, 0)


def spread(times: list[float]) -> dict[str, float]:
    """The middle and the slow end of times in seconds, as milliseconds."""
    times.sort()
    middle, slow = times[len(times) // 2], times[int(len(times) * 0.99)]
    return {"median": middle * 1e3, "p99": slow * 1e3}


def connect(addresses: Sequence[str], port: int, count: int) -> dict[str, float]:
    """From `connect()` to the first octet of the answer, one after the other."""
    times = []
    for number in range(count):
        begin = time.perf_counter()
        target = (addresses[number % len(addresses)], port)
        with socket.create_connection(target, timeout=10) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.send(OCTET)
            sock.recv(1)
        times.append(time.perf_counter() - begin)
    return spread(times)


def rtt(addresses: Sequence[str], port: int, count: int) -> dict[str, float]:
    """There and back on one connection."""
    times = []
    with socket.create_connection((addresses[0], port), timeout=10) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(count):
            begin = time.perf_counter()
            sock.send(OCTET)
            sock.recv(1)
            times.append(time.perf_counter() - begin)
    return spread(times[count // 10 :])


def connections(
    addresses: Sequence[str], port: int, seconds: float
) -> dict[str, float]:
    """New connections a second. They end by a reset, which leaves no port in use."""
    epoll = select.epoll()
    open_now: dict[int, socket.socket] = {}
    started = done = failed = 0
    begin = time.perf_counter()
    while (now := time.perf_counter()) - begin < seconds:
        while len(open_now) < PARALLEL:
            sock = socket.socket()
            sock.setblocking(False)
            sock.connect_ex((addresses[started % len(addresses)], port))
            started += 1
            open_now[sock.fileno()] = sock
            epoll.register(sock.fileno(), select.EPOLLOUT)
        for number, events in epoll.poll(1):
            sock = open_now[number]
            try:
                if events == select.EPOLLOUT:
                    sock.send(OCTET)
                    epoll.modify(number, select.EPOLLIN)
                    continue
                done += len(sock.recv(1))
            except OSError:
                failed += 1
            del open_now[number]
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            sock.close()
    return {"rate": done / (now - begin), "failed": failed}


def datagrams(addresses: Sequence[str], port: int, seconds: float) -> dict[str, float]:
    """Datagrams there and back a second, and how many were lost."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.connect((addresses[0], port))
    sock.settimeout(0.2)
    payload = bytes(1200)
    sent = came = lost = 0
    begin = time.perf_counter()
    while (now := time.perf_counter()) - begin < seconds:
        while sent - came - lost < PARALLEL:
            sock.send(payload)
            sent += 1
        try:
            sock.recv(2_000)
            came += 1
        except TimeoutError:
            lost = sent - came
    return {"rate": came / (now - begin), "lost": lost / max(sent, 1)}


def flood(addresses: Sequence[str], port: int, seconds: float) -> dict[str, float]:
    """Open connections, and keep them, as fast as it goes; the oldest go first."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    kept: list[socket.socket] = []
    started = 0
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for _ in range(400):
            sock = socket.socket()
            sock.setblocking(False)
            sock.connect_ex((addresses[started % len(addresses)], port))
            started += 1
            kept.append(sock)
        while len(kept) > min(20_000, limit - 500):
            kept.pop(0).close()
        time.sleep(0.02)
    return {"started": started}


def hold(addresses: Sequence[str], port: int, count: int) -> dict[str, float]:
    """Open connections, each used once, and keep them until the input ends."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    kept = []
    for number in range(count):
        target = (addresses[number % len(addresses)], port)
        sock = socket.create_connection(target, timeout=10)
        sock.send(OCTET)
        sock.recv(1)
        kept.append(sock)
    print(json.dumps({"open": len(kept)}), flush=True)
    sys.stdin.read()
    return {"closed": len(kept)}


CLIENTS: dict[str, Callable[[Sequence[str], int, float], dict[str, float]]] = {
    "connect": lambda a, p, n: connect(a, p, int(n)),
    "connections": connections,
    "rtt": lambda a, p, n: rtt(a, p, int(n)),
    "datagrams": datagrams,
    "flood": flood,
    "hold": lambda a, p, n: hold(a, p, int(n)),
}


if __name__ == "__main__":
    kind, where, number, how_much = sys.argv[1:5]
    measured = CLIENTS[kind](where.split(","), int(number), float(how_much))
    print(json.dumps(measured))
