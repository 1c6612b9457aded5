"""Runs inside the devbox: does one step of a connection at a time, when it is told to.

Reads a JSON object a line and answers each with one. Sockets have names of the test's.
"""

from __future__ import annotations

import json
import select
import socket
import ssl
import sys
import threading
import time
from typing import Any

PATIENCE = 3.0
CHUNK = b"x" * 4096

socks: dict[str, socket.socket] = {}
streams: dict[str, Stream] = {}


class Stream:
    """A thread that sends or receives without end, and notes whether it still does."""

    def __init__(self, sock: socket.socket, *, up: bool, limit: int = 0) -> None:
        self.sock, self.up, self.moved, self.broken = sock, up, 0, False
        self.limit = limit  # To be sent as fast as it goes; none is slowly.
        threading.Thread(target=self.run, daemon=True).start()

    def run(self) -> None:
        """Move bytes until that fails."""
        try:
            while not self.limit or self.moved < self.limit:
                got = self.sock.send(CHUNK) if self.up else len(self.sock.recv(4096))
                if not got:
                    break
                self.moved += got
                if not self.limit:
                    time.sleep(0.005)
        except OSError:
            pass
        self.broken = True

    def state(self) -> str:
        """Alive while bytes go on moving."""
        moved, end = self.moved, time.monotonic() + PATIENCE
        while time.monotonic() < end and not self.broken:
            if self.moved > moved + 5 * len(CHUNK):
                return "alive"
            time.sleep(0.01)
        return "cut" if self.broken else "stuck"


def connect(step: dict[str, Any]) -> dict[str, Any]:
    """A TCP connection, or a UDP socket; with a small buffer, so that cuts show soon."""
    kind = socket.SOCK_DGRAM if step.get("udp") else socket.SOCK_STREAM
    family = socket.AF_INET6 if ":" in step["host"] else socket.AF_INET
    sock = socket.socket(family, kind)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    sock.settimeout(step.get("patience", PATIENCE))
    socks[step["as"]] = sock
    sock.connect((step["host"], step["port"]))
    return {}


def recv(step: dict[str, Any]) -> dict[str, Any]:
    """What comes, until *until* is in it, the end, or nothing more."""
    sock, got = socks[step["as"]], b""
    sock.settimeout(step.get("patience", PATIENCE))
    until = bytes.fromhex(step.get("until", ""))
    while not got or until not in got:
        data = sock.recv(65_536)
        if not data:
            return {"got": got.hex(), "eof": True}
        got += data
    return {"got": got.hex()}


def stream(step: dict[str, Any]) -> dict[str, Any]:
    """Start a stream, or say how it is."""
    name = step["as"]
    match step["do"]:
        case "stream":
            streams[name] = Stream(socks[name], up=step["up"])
        case "flood":
            streams[name] = Stream(socks[name], up=True, limit=step["count"])
        case "state":
            return {"state": streams[name].state()}
        case "flooded":
            return {"sent": streams[name].moved}
    return {}


def perform(step: dict[str, Any]) -> dict[str, Any]:
    """Do one step."""
    match step["do"]:
        case "resolve":
            family = socket.AF_INET6 if step.get("v6") else socket.AF_INET
            found = socket.getaddrinfo(step["name"], 0, family, socket.SOCK_STREAM)
            return {"address": found[0][4][0]}
        case "connect":
            return connect(step)
        case "send":
            socks[step["as"]].sendall(bytes.fromhex(step["data"]))
            return {}
        case "recv":
            return recv(step)
        case "tls":
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            plain = socks[step["as"]]
            socks[step["as"]] = context.wrap_socket(plain, server_hostname=step["name"])
            return {}
        case "stream" | "flood" | "state" | "flooded":
            return stream(step)
        case "ended":
            poll = select.poll()
            poll.register(socks[step["as"]], 0)
            return {"ended": bool(poll.poll(step.get("patience", PATIENCE) * 1000))}
        case "close":
            if step["as"] in socks:
                socks.pop(step["as"]).close()
            return {}
    raise ValueError(step["do"])


for line in sys.stdin:
    try:
        answer = perform(json.loads(line))
    except OSError as error:
        answer = {"error": type(error).__name__, "errno": error.errno}
    print(json.dumps(answer), flush=True)
