"""One TCP stream whose ends cost next to nothing, so that the way between is measured.

The sender hands pages of a file in memory to the kernel (`sendfile`), the receiver has what
came thrown away without copying it (`MSG_TRUNC`, tcp(7)). A client says `D` to receive and
`U` to send, and prints the rate that the receiver saw.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import struct
import sys
import threading
import time

BLOCK = 1 << 20
_WARM_UP = 0.3
_HALF_A_SECOND = struct.pack("@ll", 0, 500_000)


def serve(host: str, port: int) -> None:
    """Serve each client in a thread of its own."""
    with socket.create_server((host, port), backlog=64) as listener:
        while True:
            sock, _ = listener.accept()
            threading.Thread(target=_serve_one, args=(sock,), daemon=True).start()


def _serve_one(sock: socket.socket) -> None:
    with sock, contextlib.suppress(OSError):  # The client has seen enough.
        asked = sock.recv(2)
        if asked[:1] == b"D":
            send(sock, time.monotonic() + 60)
        else:
            sock.send(f"rate={receive(sock, float('inf'))}\n".encode())


def send(sock: socket.socket, until: float) -> None:
    """Send until a moment, or until the receiver goes."""
    file = os.memfd_create("bench")
    os.write(file, os.urandom(BLOCK))
    try:
        while time.monotonic() < until:
            with contextlib.suppress(BlockingIOError):
                os.sendfile(sock.fileno(), file, 0, BLOCK)
    finally:
        os.close(file)


def receive(sock: socket.socket, seconds: float) -> float:
    """Receive for a time, or to the end; the rate in Gbit/s after a warm-up."""
    begin = start = time.monotonic()
    count = 0
    while (now := time.monotonic()) - begin < seconds + _WARM_UP:
        try:
            got = len_truncated(sock)
        except BlockingIOError:
            continue  # Nothing for a while: the time may be over.
        if not got:
            break
        if now - begin < _WARM_UP:
            start, count = now, 0
        else:
            count += got
    return count * 8 / (time.monotonic() - start) / 1e9


def len_truncated(sock: socket.socket) -> int:
    """How many octets were there, and are gone."""
    # With this flag the kernel writes nothing: all threads may share the buffer.
    return sock.recv_into(_NOWHERE, BLOCK, socket.MSG_TRUNC)


_NOWHERE = bytearray(BLOCK)


def main() -> None:
    """`serve HOST PORT`, or `D|U HOST PORT SECONDS`."""
    verb, host, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
    if verb == "serve":
        serve(host, port)
        return
    seconds = float(sys.argv[4])
    with socket.create_connection((host, port)) as sock:
        # A stream that is starved must not wait beyond the end.
        for limit in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            sock.setsockopt(socket.SOL_SOCKET, limit, _HALF_A_SECOND)
        sock.sendall(f"{verb}\n".encode())
        if verb == "D":
            print(receive(sock, seconds))
        else:
            send(sock, time.monotonic() + seconds + _WARM_UP)
            sock.shutdown(socket.SHUT_WR)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, bytes(16))
            # HAProxy 2.6 hands out pipes in which octets of other streams are left.
            said = re.search(rb"rate=([0-9.]+)\n$", sock.makefile("rb").read())
            print(float(said[1]) if said else 0.0)


if __name__ == "__main__":
    main()
