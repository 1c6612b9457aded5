"""Runs inside the devbox: keeps connections of many kinds open, and says how they are."""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
import urllib.error
import urllib.request

UPGRADE = (
    "GET / HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
FRAME = bytes.fromhex("818537fa213d7f9f4d5158")
PATIENCE = 3.0

flows: dict[str, dict[str, object]] = {}


class Stream:
    """A thread that sends or receives without end, and notes whether it still does."""

    def __init__(self, sock: socket.socket, *, up: bool) -> None:
        self.sock, self.up, self.moved, self.broken = sock, up, 0, False
        threading.Thread(target=self.run, daemon=True).start()

    def run(self) -> None:
        try:
            while True:
                if self.up:
                    self.moved += self.sock.send(b"x" * 1000)
                else:
                    got = len(self.sock.recv(1000))
                    if not got:
                        break
                    self.moved += got
                time.sleep(0.002)
        except OSError:
            pass
        self.broken = True

    def state(self) -> str:
        """Alive while bytes go on moving."""
        moved, end = self.moved, time.monotonic() + PATIENCE
        while time.monotonic() < end and not self.broken:
            if self.moved > moved + 5000:
                return "alive"
            time.sleep(0.01)
        return "cut" if self.broken else "stuck"


def connect(name: str, port: int, first: bytes, until: bytes) -> socket.socket:
    """Connect, say something, and wait for an answer that contains *until*."""
    sock = socket.create_connection((name, port), timeout=PATIENCE)
    sock.sendall(first)
    got = b""
    while until not in got:
        got += sock.recv(4096)
    return sock


def open_all(name: str) -> dict[str, object]:
    """One flow of each kind."""
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.connect((socket.gethostbyname(name), 7777))
    udp.settimeout(PATIENCE)
    udp.send(b"ping")
    udp.recv(100)
    return {
        "idle": connect(name, 7000, b"hello\n", b"hello"),
        "up": Stream(connect_only(name, 7001, b"SINK\n"), up=True),
        "down": Stream(connect_only(name, 7002, b"BYTES 9000000000\n"), up=False),
        "websocket": connect(name, 80, UPGRADE.format(name).encode(), b"\r\n\r\n"),
        "ssh": connect(name, 22, b"SSH-2.0-probe\r\n", b"SSH-"),
        "udp": udp,
    }


def connect_only(name: str, port: int, first: bytes) -> socket.socket:
    """Connect with a small buffer: what is cut must not live on in it for long."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.settimeout(PATIENCE)
    sock.connect((name, port))
    sock.sendall(first)
    return sock


def state(kind: str, flow: object) -> str:
    """Whether a flow still carries bytes there and back."""
    if isinstance(flow, Stream):
        return flow.state()
    assert isinstance(flow, socket.socket)
    try:
        flow.send(FRAME if kind == "websocket" else b"ping\n")
        if kind == "udp":
            flow.settimeout(1.0)
        return "alive" if flow.recv(100) else "cut"
    except OSError:
        return "cut"


def get(name: str) -> str:
    """One request on a new connection."""
    try:
        with urllib.request.urlopen(f"http://{name}/hello", timeout=PATIENCE) as answer:
            return "allowed" if answer.read() else "empty"
    except urllib.error.HTTPError as error:
        return "denied" if error.code == 403 else f"status {error.code}"
    except OSError as error:
        return f"failed: {error}"


for line in sys.stdin:
    verb, *names = line.split()
    if verb == "open":
        flows.update({name: open_all(name) for name in names})
        print(json.dumps({name: sorted(kinds) for name, kinds in flows.items()}))
    elif verb == "check":
        print(
            json.dumps(
                {
                    name: {kind: state(kind, flow) for kind, flow in kinds.items()}
                    for name, kinds in flows.items()
                }
            )
        )
    else:
        print(get(names[0]))
    sys.stdout.flush()
