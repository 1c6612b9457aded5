"""Runs inside the devbox: takes all it can get, in the way its first line says.

Reads one line, `ACT SECONDS ADDRESS`, does that for so long, then says in one line of
JSON what came of it, keeps what it has, and waits.
"""

from __future__ import annotations

import json
import os
import resource
import select
import socket
import struct
import sys
import time
from collections.abc import Callable

Held = list[socket.socket]
held: Held = []


def stream(address: str, port: int) -> socket.socket:
    """A connection that is being made; nobody waits for it."""
    sock = socket.socket()
    sock.setblocking(False)
    sock.connect_ex((address, port))
    held.append(sock)
    return sock


def push(sock: socket.socket, data: bytes) -> int:
    """Send what there is room for; -1 once the connection has ended."""
    try:
        return sock.send(data)
    except BlockingIOError:
        return 0
    except OSError:
        return -1


def connects(address: str, until: float) -> dict[str, int]:
    """Twenty thousand connections, as fast as they can be begun."""
    while len(held) < 20_000 and time.monotonic() < until:
        stream(address, 7000)
    return {"begun": len(held)}


def questions(address: str, until: float) -> dict[str, int]:
    """Questions about names that nobody has asked for, five thousand a second."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with open("/etc/resolv.conf") as file:
        sock.connect((file.read().split()[1], 53))
    sock.setblocking(False)
    began, asked = time.monotonic(), 0
    while (now := time.monotonic()) < until:
        if asked > (now - began) * 5_000:
            time.sleep(0.002)
            continue
        name = os.urandom(12).hex().encode()
        label = bytes((len(name),)) + name + b"\x01w\x04test\x00"
        header = struct.pack("!6H", asked & 0xFFFF, 256, 1, 0, 0, 0)
        push(sock, header + label + b"\0\1\0\1")
        asked += 1
        while select.select([sock], [], [], 0)[0]:
            sock.recv(512)
    return {"asked": asked}


def slow_hellos(address: str, until: float) -> dict[str, int]:
    """Five hundred hellos at an octet a second."""
    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500)
    socks = [stream(address, 443) for _ in range(500)]
    sent = 0
    while time.monotonic() < until:
        for sock in socks:
            push(sock, hello[sent % 500 : sent % 500 + 1])
        sent += 1
        time.sleep(1)
    alive = sum(push(sock, b"\0") >= 0 for sock in socks)
    return {"begun": len(socks), "alive": alive}


def headers(address: str, until: float) -> dict[str, int]:
    """Requests whose fields have no end."""
    return _pour(
        address, 80, b"GET / HTTP/1.1\r\nHost: a.test\r\n", b"X-Y: z\r\n" * 50, until
    )


def garbage(address: str, until: float) -> dict[str, int]:
    """Octets that are no protocol, to ports of two of them."""
    half = (until + time.monotonic()) / 2
    first = _pour(address, 443, b"\x16\x03\x01", os.urandom(2_000), half)
    second = _pour(address, 80, b"GET ", os.urandom(2_000), until)
    return {key: first[key] + second[key] for key in first}


def _pour(
    address: str, port: int, first: bytes, more: bytes, until: float
) -> dict[str, int]:
    """Twenty connections at a time, a megabyte a second in all; those that end are
    replaced."""
    began, poured, ended = time.monotonic(), 0, 0
    socks: dict[socket.socket, bool] = {}
    while (now := time.monotonic()) < until:
        while len(socks) < 20:
            socks[stream(address, port)] = True
        for sock, is_new in tuple(socks.items()):
            sent = push(sock, first if is_new else more)
            poured += max(sent, 0)
            socks[sock] = is_new and sent <= 0
            if sent < 0:
                ended += 1
                held.remove(sock)
                sock.close()
                del socks[sock]
        time.sleep(0.005 if poured < (now - began) * 1_000_000 else 0.05)
    return {"poured": poured, "ended": ended}


def datagrams(address: str, until: float) -> dict[str, int]:
    """Large datagrams from thousands of ports, to where they may go and where not."""
    socks, sent = [], 0
    for _ in range(3_000):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setblocking(False)
        socks.append(sock)
    while time.monotonic() < until:
        for number, sock in enumerate(socks):
            target = address if number % 3 else "203.0.113.66"
            try:
                sock.sendto(bytes(1_400), (target, 7777))
                sent += 1
            except OSError:
                pass
        time.sleep(0.02)
    return {"sent": sent}


def deaf(address: str, until: float) -> dict[str, int]:
    """Two hundred long answers that nobody reads."""
    socks = [stream(address, 7000) for _ in range(200)]
    waiting = set(socks)
    while time.monotonic() < until:
        waiting -= {sock for sock in waiting if push(sock, b"BYTES 900000000\n") > 0}
        time.sleep(0.05)
    return {"begun": len(socks), "unasked": len(waiting)}


ACTS: dict[str, Callable[[str, float], dict[str, int]]] = {
    "connects": connects,
    "questions": questions,
    "slow_hellos": slow_hellos,
    "headers": headers,
    "garbage": garbage,
    "datagrams": datagrams,
    "deaf": deaf,
}

if __name__ == "__main__":
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    act, seconds, name = sys.stdin.readline().split()
    told = socket.gethostbyname(name)
    said = ACTS[act](told, time.monotonic() + float(seconds))
    print(json.dumps(said), flush=True)
    time.sleep(120)
