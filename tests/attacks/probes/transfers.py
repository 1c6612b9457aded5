"""Runs inside the devbox: large and long transfers of every shape; what arrived.

Reads JSON on standard input: `targets` (name to address, for what is connected to by
address), `family` (4 or 6) and `size`, in octets, of the large bodies. Writes a JSON
object: what came of each transfer, by its name. Standard library and curl only.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

GIVEN = json.load(sys.stdin)
SIZE: int = GIVEN["size"]
FAMILY = socket.AF_INET if GIVEN["family"] == 4 else socket.AF_INET6
UPLOAD = 13 * 1024 * 1024 + 7
PATIENCE = 15
BODY = Path("/tmp/body")
PIECE = bytes(range(256)) * 256


def dial(name: str, port: int, buffer: int = 0) -> socket.socket:
    """A connection to *name*, or to the address that stands for it."""
    host = GIVEN["targets"].get(name, name)
    found = socket.getaddrinfo(host, port, FAMILY, socket.SOCK_STREAM)
    sock = socket.socket(FAMILY, socket.SOCK_STREAM)
    if buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    sock.settimeout(PATIENCE)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.connect(found[0][4])
    return sock


def pieces(sock: socket.socket, size: int = 1 << 20) -> Iterator[bytes]:
    """What comes until the end."""
    while data := sock.recv(size):
        yield data


def summed(parts: Iterator[bytes]) -> list[object]:
    """Length and digest of what comes."""
    digest, count = hashlib.sha256(), 0
    for part in parts:
        digest.update(part)
        count += len(part)
    return [count, digest.hexdigest()]


def body_of(sock: socket.socket) -> Iterator[bytes]:
    """The body of a response that ends with the connection."""
    head = b""
    while b"\r\n\r\n" not in head:
        data = sock.recv(4096)
        if not data:
            return
        head += data
    yield head.partition(b"\r\n\r\n")[2]
    yield from pieces(sock)


def half_close() -> object:
    """The client ends its side first and then reads a large answer."""
    with dial("big.test", 7000) as sock:
        sock.sendall(b"BYTES %d\n" % SIZE)
        sock.shutdown(socket.SHUT_WR)
        return summed(pieces(sock))


def half_close_http() -> object:
    """The same, with a request."""
    with dial("big.test", 80) as sock:
        sock.sendall(b"GET /bytes/%d HTTP/1.1\r\nHost: big.test\r\n\r\n" % SIZE)
        sock.shutdown(socket.SHUT_WR)
        return summed(body_of(sock))


def upload() -> object:
    """An upload that is answered after its end; how many octets and what digest."""
    with dial("big.test", 7000) as sock:
        sock.sendall(b"SINK\n")
        with BODY.open("rb") as body:
            sock.sendfile(body)
        sock.shutdown(socket.SHUT_WR)
        return b"".join(pieces(sock)).decode()


def both_ways() -> object:
    """What is sent comes back meanwhile; nobody waits for the other to end."""
    with dial("a.test", 7000) as sock:
        told: list[object] = []
        reader = threading.Thread(target=lambda: told.append(summed(pieces(sock))))
        reader.start()
        sock.sendall(bytes(1))
        for _ in range(SIZE // len(PIECE)):
            sock.sendall(PIECE)
        sock.shutdown(socket.SHUT_WR)
        reader.join()
        return told[0]


def slow_reader() -> object:
    """A reader with a small buffer, and pauses in which nothing can be sent."""
    with dial("big.test", 7000, buffer=8192) as sock:
        sock.sendall(b"BYTES 4000000\n")
        time.sleep(0.5)
        digest, count = hashlib.sha256(), 0
        for number, part in enumerate(pieces(sock, 65_536)):
            digest.update(part)
            count += len(part)
            if number % 25 == 0:
                time.sleep(0.02)
        return [count, digest.hexdigest()]


def tls_download() -> object:
    """A large answer over TLS."""
    context = ssl.create_default_context()
    plain = dial("big.test", 443)
    with context.wrap_socket(plain, server_hostname="big.test") as sock:
        sock.sendall(
            b"GET /bytes/%d HTTP/1.1\r\nHost: big.test\r\nConnection: close\r\n\r\n"
            % SIZE
        )
        return summed(body_of(sock))


def keep_alive() -> object:
    """A thousand requests over one connection, every tenth with a body."""
    client = http.client.HTTPConnection("a.test")
    client.sock = dial("a.test", 80)
    answers = set()
    for number in range(1000):
        if number % 10:
            client.request("GET", "/hello")
        else:
            client.request("POST", "/echo", body=b"%d" % number)
        answer = client.getresponse()
        expected = b"hello from a.test\n" if number % 10 else b"%d" % number
        answers.add((answer.status, answer.read() == expected))
    return sorted(answers)


def pipelined() -> object:
    """A hundred requests before the first answer is read."""
    with dial("a.test", 80) as sock:
        sock.sendall(b"GET /hello HTTP/1.1\r\nHost: a.test\r\n\r\n" * 100)
        sock.shutdown(socket.SHUT_WR)
        return b"".join(pieces(sock)).count(b"hello from a.test\n")


def multipart_by_hand() -> object:
    """A form with a large file; the body waits until the server has asked for it."""
    edge = b"----edge"
    before = b"--" + edge + b"\r\nContent-Disposition: form-data; name=f\r\n\r\n"
    after = b"\r\n--" + edge + b"--\r\n"
    length = len(before) + UPLOAD + len(after)
    with dial("a.test", 80) as sock:
        sock.sendall(
            b"POST /sha256 HTTP/1.1\r\nHost: a.test\r\nExpect: 100-continue\r\n"
            b"Content-Type: multipart/form-data; boundary=%s\r\n"
            b"Content-Length: %d\r\nConnection: close\r\n\r\n" % (edge, length)
        )
        interim = sock.recv(100)
        digest = hashlib.sha256(before)
        sock.sendall(before)
        with BODY.open("rb") as body:
            while part := body.read(1 << 20):
                digest.update(part)
                sock.sendall(part)
        digest.update(after)
        sock.sendall(after)
        text = b"".join(body_of(sock)).decode()
    return [interim.split()[1].decode(), text, f"{length} {digest.hexdigest()}\n"]


def curl(*options: str) -> str:
    """What curl prints."""
    family = "-4" if FAMILY == socket.AF_INET else "-6"
    resolved = []
    for name, address in GIVEN["targets"].items():
        for port in (80, 443):
            resolved += ["--resolve", f"{name}:{port}:{address}"]
    command = ["curl", "-sS", "-m", str(PATIENCE), family, *resolved, *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def frame(opcode: int, payload: bytes) -> bytes:
    """A frame of a WebSocket client."""
    size, mask = len(payload), os.urandom(4)
    if size < 126:
        head = bytes((0x80 | opcode, 0x80 | size))
    elif size < 65_536:
        head = bytes((0x80 | opcode, 0xFE)) + size.to_bytes(2, "big")
    else:
        head = bytes((0x80 | opcode, 0xFF)) + size.to_bytes(8, "big")
    key = int.from_bytes((mask * (size // 4 + 1))[:size], "big")
    masked = (int.from_bytes(payload, "big") ^ key).to_bytes(size, "big")
    return head + mask + masked


def websocket() -> object:
    """Messages of every form of length, a ping, and the closing handshake."""
    key = base64.b64encode(os.urandom(16)).decode()
    with dial("ws.test", 80) as sock, sock.makefile("rb") as answers:
        sock.sendall(
            b"GET /chat HTTP/1.1\r\nHost: ws.test\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: %s\r\n\r\n" % key.encode()
        )
        status = answers.readline().split()[1].decode()
        while answers.readline() != b"\r\n":
            pass
        came = []
        for opcode, size in ((2, 0), (2, 125), (2, 126), (2, 65_535), (2, 400_000),
                             (9, 5), (8, 2)):  # fmt: skip
            payload = (PIECE * (size // len(PIECE) + 1))[:size]
            sock.sendall(frame(opcode, payload))
            first, length = answers.read(2)
            if length > 125:
                width = 2 if length == 126 else 8
                length = int.from_bytes(answers.read(width), "big")
            came.append((first & 15, answers.read(length) == payload, length))
        return [status, came]


def many_at_once() -> object:
    """Twenty downloads side by side, each whole."""
    told: list[object] = []

    def one(number: int) -> None:
        with dial("big.test", 7000) as sock:
            sock.sendall(b"BYTES %d\n" % (100_000 + number))
            sock.shutdown(socket.SHUT_WR)
            told.append(100_000 + number == summed(pieces(sock))[0])

    threads = [threading.Thread(target=one, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return told.count(True)


POST = ("http://a.test/sha256", "https://a.test/sha256")
TRANSFERS: dict[str, Callable[[], object]] = {
    "half-close": half_close,
    "half-close, http": half_close_http,
    "upload": upload,
    "both ways": both_ways,
    "slow reader": slow_reader,
    "tls": tls_download,
    "keep-alive": keep_alive,
    "pipelined": pipelined,
    "multipart by hand": multipart_by_hand,
    "websocket": websocket,
    "many at once": many_at_once,
    "post, asked for": lambda: [
        curl("-H", "Expect: 100-continue", "--data-binary", f"@{BODY}", url)
        for url in POST
    ],
    "post, not asked for": lambda: [
        curl("-H", "Expect:", "--data-binary", f"@{BODY}", url) for url in POST
    ],
    "form": lambda: [curl("-F", f"f=@{BODY}", url) for url in POST],
    "form, not asked for": lambda: curl("-H", "Expect:", "-F", f"f=@{BODY}", POST[0]),
    "chunked": lambda: [
        curl("-T", str(BODY), "-H", "Transfer-Encoding: chunked", "-X", "POST", url)
        for url in POST
    ],
    "chunked answer": lambda: len(curl("http://big.test/chunked/3000000")),
}


def main() -> None:
    """Do all transfers, one after the other."""
    BODY.write_bytes((PIECE * (UPLOAD // len(PIECE) + 1))[:UPLOAD])
    results: dict[str, object] = {
        "body": f"{UPLOAD} {hashlib.sha256(BODY.read_bytes()).hexdigest()}\n"
    }
    seconds = {}
    for name, transfer in TRANSFERS.items():
        started = time.monotonic()
        try:
            results[name] = transfer()
        except (OSError, http.client.HTTPException, ValueError) as error:
            results[name] = f"{type(error).__name__}: {error}"
        seconds[name] = round(time.monotonic() - started, 2)
    json.dump({"results": results, "seconds": seconds}, sys.stdout)


if __name__ == "__main__":
    main()
