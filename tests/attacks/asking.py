"""Many DNS messages in one devbox run: what came back, and what was asked upstream."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.attacks.inside import Report, run_inside
from tests.lab.record import Entry
from tests.lab.stockade import Stockade

#: The resolver that a devbox is told of.
GATEWAY4, GATEWAY6 = "100.127.0.2", "fd53:746f:636b::2"
OPT = bytes.fromhex("00002904d0000000000000")

# Datagrams are sent each from a socket of its own, and some answers are waited for before
# more are sent: there is a limit on questions in flight. Streams are taken up one by one.
_ASK = """
import select
def open_to(server, kind):
    sock = socket.socket(socket.AF_INET6 if ":" in server else socket.AF_INET, kind)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if given["source"]:
        sock.bind(("", given["source"]))
    sock.settimeout(3)
    sock.connect((server, given["port"]))
    return sock
def by_datagram(server, pieces):
    sock = open_to(server, socket.SOCK_DGRAM)
    for piece in pieces:
        sock.send(bytes.fromhex(piece))
    return sock
def by_stream(server, pieces):
    got = b""
    with open_to(server, socket.SOCK_STREAM) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            for piece in pieces:
                sock.sendall(bytes.fromhex(piece))
                time.sleep(given["gap"])
            sock.shutdown(socket.SHUT_WR)
            while data := sock.recv(65_536):
                got += data
        except OSError:
            pass
    return got.hex()
result = []
if given["stream"]:
    for pieces in given["cases"]:
        result.append([tried(by_stream, to, pieces)["said"] for to in given["servers"]])
else:
    waiting, answered = {}, set()
    def collect(patience):
        end = time.monotonic() + patience
        while len(answered) < len(waiting) and (left := end - time.monotonic()) > 0:
            poll = select.poll()
            for sock in waiting.keys() - answered:
                poll.register(sock, select.POLLIN)
            by_fd = {sock.fileno(): sock for sock in waiting}
            for fd, _ in poll.poll(left * 1000):
                answered.add(by_fd[fd])
                said = tried(by_fd[fd].recv, 65_536)["said"]
                said = said.hex() if isinstance(said, bytes) else said
                result[waiting[by_fd[fd]]].append(said)
    for number, pieces in enumerate(given["cases"]):
        result.append([])
        for to in given["servers"]:
            sock = tried(by_datagram, to, pieces)["said"]
            if isinstance(sock, str):
                result[number].append(sock)
            else:
                waiting[sock] = number
        if number % given["batch"] == 0:
            collect(min(given["patience"], 1.0))
    collect(given["patience"])
"""


@dataclass(frozen=True, slots=True)
class Asked:
    """What came of the cases of one run, by their names."""

    report: Report
    raw: Mapping[str, Sequence[str]]

    def answers(self, case: str) -> list[bytes]:
        """The messages, or the octets of the stream, that a case got."""
        return [bytes.fromhex(got) for got in self.raw[case] if is_hexadecimal(got)]

    def upstream(self) -> tuple[Entry, ...]:
        """The questions that any resolver or server of the lab got."""
        return self.report.run.saw(kind="dns")

    def names(self) -> set[str]:
        """Their names, in lower case."""
        return {entry.name.lower() for entry in self.upstream()}

    def is_silent(self) -> bool:
        """Whether not one packet left."""
        return not sum(self.report.packets.values()) and not self.report.run.seen


def is_hexadecimal(text: str) -> bool:
    """Whether *text* is octets, and not the name of an error."""
    return not text.strip("0123456789abcdef")


def put(
    stockade: Stockade,
    policy: str | Mapping[str, Any] | None,
    cases: Mapping[str, bytes | Sequence[bytes]],
    *,
    server: str | Sequence[str] = GATEWAY4,
    port: int = 53,
    stream: bool = False,
    source: int = 0,
    gap: float = 0.0,
    patience: float = 8.0,
) -> Asked:
    """Send each case to each *server*: its datagrams, or the pieces of its stream.

    *patience* is how long answers to datagrams are waited for, all together.
    """
    report = run_inside(
        stockade,
        _ASK,
        policy=policy,
        arguments={
            "cases": [
                [piece.hex() for piece in ([sent] if isinstance(sent, bytes) else sent)]
                for sent in cases.values()
            ],
            "servers": [server] if isinstance(server, str) else list(server),
            "batch": max(32 // (1 if isinstance(server, str) else len(server)), 1),
            "stream": stream,
            "source": source,
            "port": port,
            "gap": gap,
            "patience": patience,
        },
        timeout=120.0,
    )
    return Asked(report, dict(zip(cases, report.value, strict=True)))


def wire(name: str) -> bytes:
    """A name as messages carry it."""
    labels = [label.encode("latin-1") for label in name.split(".") if label]
    return b"".join(bytes((len(label),)) + label for label in labels) + b"\0"


def message(
    name: bytes,
    *,
    number: int = 0x1234,
    flags: int = 0x100,
    counts: Sequence[int] = (1, 0, 0, 1),
    ends: bytes = b"\0\1\0\1",
    rest: bytes = OPT,
) -> bytes:
    """A question about *name* as it stands, with *ends* and *rest* after it."""
    header = b"".join(value.to_bytes(2, "big") for value in (number, flags, *counts))
    return header + name + ends + rest


def framed(*messages: bytes) -> bytes:
    """Messages as a stream carries them."""
    return b"".join(len(each).to_bytes(2, "big") + each for each in messages)
