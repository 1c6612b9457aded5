"""A resolver that misbehaves, on one address of the lab: `rogue.py ADDRESS LIE TRUTH`.

What it does is told line by line on standard input: one of `MODES`.
"""

from __future__ import annotations

import selectors
import socket
import sys
import threading
import time

ADDRESS, LIE, TRUTH = sys.argv[1:4]
OTHER = ADDRESS[:-1] + "5"
TTL = bytes.fromhex("0000003c")
ASKED = b"\xc0\x0c"


def answer(query: bytes, address: str, flags: int = 0x8180) -> bytes:
    """*query* with one address record, or with an error and none."""
    end = 12
    while query[end]:
        end += query[end] + 1
    end += 5
    records = not flags & 0x020F
    head = (
        query[:2] + flags.to_bytes(2, "big") + b"\0\1" + bytes((0, records, 0, 0, 0, 0))
    )
    record = b"\xc0\x0c\0\1\0\1" + TTL + b"\0\4" + socket.inet_aton(address)
    return head + query[12:end] + (record if records else b"")


def other_id(query: bytes) -> bytes:
    return bytes((query[0] ^ 1,)) + query[1:]


def other_name(query: bytes) -> bytes:
    """The same question about a name of another letter case: what a guesser would send."""
    return query[:12] + query[12:].swapcase()


def with_more(query: bytes, answers: int, more: int, *owners: bytes) -> bytes:
    """The truth, and lies about *owners*: *answers* in front of it, *more* behind it."""
    told = answer(query, TRUTH)
    end = len(told) - 16
    lies = [
        owner + b"\0\1\0\1" + TTL + b"\0\4" + socket.inet_aton(LIE) for owner in owners
    ]
    counts = bytes((0, 1 + answers, 0, 0, 0, more))
    front, behind = b"".join(lies[:answers]), b"".join(lies[answers:])
    return told[:6] + counts + told[12:end] + front + told[end:] + behind


def victim() -> bytes:
    """A name that nobody asks for but a test, afterwards: each mode has its own."""
    label = mode.replace(" ", "-").encode()
    return bytes((len(label),)) + label + b"\1w\4test\0"


def about_another(query: bytes) -> bytes:
    """A lie about another name, and nothing about the one that was asked for."""
    told = answer(query, LIE)
    return told[:-16] + victim() + told[-14:]


def from_elsewhere(
    address: str, port: int, sock: socket.socket, query: bytes, peer: tuple[str, int]
) -> None:
    """A lie from another place, and then the truth."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind((address, port))
        other.sendto(answer(query, LIE), peer)
    time.sleep(0.05)
    sock.sendto(answer(query, TRUTH), peer)


def late(sock: socket.socket, query: bytes, peer: tuple[str, int]) -> None:
    timer = threading.Timer(1.0, lambda: sock.sendto(answer(query, TRUTH), peer))
    timer.daemon = True
    timer.start()


def first(lie: bytes, sock: socket.socket, query: bytes, peer: tuple[str, int]) -> None:
    """A lie, and soon after it the truth."""
    sock.sendto(lie, peer)
    time.sleep(0.05)
    sock.sendto(answer(query, TRUTH), peer)


MODES = {
    "good": lambda s, q, p: s.sendto(answer(q, TRUTH), p),
    "dead": lambda s, q, p: None,
    "slow": late,
    "servfail": lambda s, q, p: s.sendto(answer(q, LIE, 0x8182), p),
    "refused": lambda s, q, p: s.sendto(answer(q, LIE, 0x8185), p),
    "truncating": lambda s, q, p: s.sendto(answer(q, LIE, 0x8380), p),
    "garbage": lambda s, q, p: s.sendto(b"\xff" * 64, p),
    "another name": lambda s, q, p: s.sendto(about_another(q), p),
    "lies in front": lambda s, q, p: s.sendto(with_more(q, 1, 0, victim()), p),
    "lies behind": lambda s, q, p: s.sendto(with_more(q, 0, 2, ASKED, victim()), p),
    "wrong id": lambda s, q, p: first(answer(other_id(q), LIE), s, q, p),
    "wrong case": lambda s, q, p: first(answer(other_name(q), LIE), s, q, p),
    "wrong port": lambda s, q, p: from_elsewhere(ADDRESS, 0, s, q, p),
    "wrong address": lambda s, q, p: from_elsewhere(OTHER, 53, s, q, p),
    "only lies": lambda s, q, p: s.sendto(answer(other_id(q), LIE), p),
}
mode = "good"


def by_tcp(listener: socket.socket) -> None:
    """Truncated answers are asked for again by TCP, and here nobody speaks it."""
    listener.accept()[0].close()


def main() -> None:
    """Answer, and do what is told."""
    global mode  # noqa: PLW0603 - a script
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind((ADDRESS, 53))
    tcp = socket.create_server((ADDRESS, 53))
    selector = selectors.DefaultSelector()
    for source in (udp, tcp, sys.stdin):
        selector.register(source, selectors.EVENT_READ)
    print("ready", flush=True)
    while True:
        for key, _ in selector.select():
            if key.fileobj is udp:
                query, peer = udp.recvfrom(4096)
                MODES[mode](udp, query, peer)
            elif key.fileobj is tcp:
                by_tcp(tcp)
            elif line := sys.stdin.readline():
                mode = line.strip()
                print("told", flush=True)
            else:
                return


main()
