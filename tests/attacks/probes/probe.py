"""Runs inside the devbox: does a list of network steps and says what came of each.

Reads JSON steps on standard input, writes a JSON list of results. Standard library only.
"""

from __future__ import annotations

import json
import socket
import sys
import time
from collections.abc import Callable


def main() -> None:
    """Do all steps, in order."""
    done: dict[str, Callable[..., dict[str, object]]] = {
        "tcp": tcp,
        "udp": udp,
        "resolve": resolve,
        "dns": dns,
    }
    results = []
    for step in json.load(sys.stdin):
        kind = step.pop("op")
        try:
            results.append(done[kind](**step))
        except OSError as error:
            results.append({"error": type(error).__name__, "text": str(error)})
    json.dump(results, sys.stdout)


def tcp(
    host: str,
    port: int,
    pieces: list[str],
    gap: float = 0.0,
    listen_first: bool = False,
    half_close: bool = False,
    linger: float = 0.4,
) -> dict[str, object]:
    """Connect, send each of *pieces* (hexadecimal), and read to the end.

    *linger* bounds, in seconds, how long each read waits.
    """
    started = time.monotonic()
    greeting = b""
    with socket.create_connection((host, port), timeout=5) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(linger)
        if listen_first:
            greeting = sock.recv(4096)
        got, end = b"", "open"
        try:
            for piece in pieces:
                sock.sendall(bytes.fromhex(piece))
                if gap:
                    time.sleep(gap)
            if half_close:
                sock.shutdown(socket.SHUT_WR)
            while chunk := sock.recv(65536):
                got += chunk
            end = "eof"
        except TimeoutError:
            end = "open"
        except OSError as error:
            end = type(error).__name__
    return {
        "greeting": greeting.hex(),
        "got": got.hex(),
        "end": end,
        "seconds": time.monotonic() - started,
    }


def udp(host: str, port: int, data: str, wait: float = 1.0) -> dict[str, object]:
    """Send a datagram and wait for an answer, or an ICMP error."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.connect((host, port))
        sock.settimeout(wait)
        sock.send(bytes.fromhex(data))
        return {"got": sock.recv(65536).hex()}


def resolve(name: str, family: int = 0) -> dict[str, object]:
    """Ask the system's resolver."""
    found = socket.getaddrinfo(name, 0, family, socket.SOCK_STREAM)
    return {"addresses": sorted({entry[4][0] for entry in found})}


def dns(
    server: str, message: str, *, stream: bool = False, wait: float = 2.0
) -> dict[str, object]:
    """Send a DNS message as it is, over UDP or TCP, and return the answer."""
    raw = bytes.fromhex(message)
    if not stream:
        return udp(server, 53, message, wait)
    with socket.create_connection((server, 53), timeout=5) as sock:
        sock.settimeout(wait)
        sock.sendall(len(raw).to_bytes(2, "big") + raw)
        size = int.from_bytes(sock.recv(2), "big")
        got = b""
        while len(got) < size and (chunk := sock.recv(size - len(got))):
            got += chunk
        return {"got": got.hex()}


if __name__ == "__main__":
    main()
