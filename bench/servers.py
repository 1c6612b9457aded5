"""The far side: servers quick enough not to be what is measured."""

from __future__ import annotations

import contextlib
import socket
import sys
import time
from collections.abc import Iterator

from bench.contenders import ECHO_PORT, NAME, SERVER, STREAM_PORT
from tests.lab import Lab


@contextlib.contextmanager
def servers(lab: Lab) -> Iterator[None]:
    """One that streams, and one that answers one octet with one octet."""
    lab.set_name(NAME, a=[SERVER], ttl=3600)
    processes = [
        lab.popen_inet(
            [sys.executable, "-m", "bench.stream", "serve", SERVER, str(STREAM_PORT)]
        ),
        lab.popen_inet([sys.executable, "-m", "bench.servers"]),
    ]
    time.sleep(0.5)
    try:
        yield
    finally:
        for process in processes:
            process.terminate()
            process.wait()


def answer_forever() -> None:
    """Answer the first octet of each connection with one, one connection at a time."""
    with socket.create_server((SERVER, ECHO_PORT), backlog=256) as listener:
        while True:
            sock, _ = listener.accept()
            with sock:
                if sock.recv(64):
                    sock.send(b"x")


if __name__ == "__main__":
    answer_forever()
