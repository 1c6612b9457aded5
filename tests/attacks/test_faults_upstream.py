"""Servers that do not answer, do not read, do not end: only who uses them is concerned."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attacks.agents import policy, running_agent
from tests.attacks.processes import gateway_of
from tests.attacks.seats import Seat
from tests.lab import Lab
from tests.lab.addresses import DIRECT4, v4
from tests.lab.record import Entry

HOLE = v4(28)  # What is sent there is dropped.
GET = b"GET /hello HTTP/1.1\r\nHost: %s\r\n\r\n"
MEGABYTE = 1 << 20

#: Accepts connections, and never reads from them, or writes.
DEAF = """
import socket, sys, time
listener = socket.create_server((sys.argv[1], 7000), backlog=500)
print("ready", flush=True)
held = []
while True:
    held.append(listener.accept())
"""


@pytest.fixture(scope="module")
def seats(lab: Lab, default_image: None) -> Iterator[tuple[Seat, Seat]]:
    lab.set_name("deaf.test", a=[DIRECT4[2]])
    lab.set_name("gone.test", a=[HOLE, v4(10)])
    lab.set_name("holes.test", a=[HOLE])
    names = policy("a.test", "deaf.test", "gone.test", "holes.test", "reset.test")
    with running_agent(lab) as agent:
        yield Seat(agent, "one", names), Seat(agent, "two", policy("b.test"))


@pytest.fixture(scope="module")
def deaf(lab: Lab) -> Iterator[None]:
    process = lab.popen_inet(
        [sys.executable, "-c", DEAF, DIRECT4[2]], stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield
        process.kill()


def neighbour_is_served(seat: Seat) -> None:
    """Another devbox is answered promptly, each time."""
    for _ in range(10):
        started = time.monotonic()
        seat.open("c", v4(11), 80)
        seat.asks("c", GET % b"b.test", b"hello")
        assert time.monotonic() - started < 1.5


def memory(pid: int) -> int:
    """What a process has in memory that is its own, in octets."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise LookupError(pid)


def test_a_destination_that_swallows_everything(
    lab: Lab, seats: tuple[Seat, Seat]
) -> None:
    """Connections wait for an answer to their SYN; those to elsewhere do not wait for them.

    A change of policy ends them at once.
    """
    one, two = seats
    address = one.resolve("holes.test")
    for number in range(100):
        one.open(f"h{number}", address, 80)
        one.send(f"h{number}", GET % b"holes.test")
    neighbour_is_served(two)
    one.open("c", one.resolve("a.test"), 80)
    one.asks("c", GET % b"a.test", b"hello")
    names = ("a.test", "deaf.test", "gone.test", "reset.test")
    assert one.update(policy(*names))["cut"] == 100
    assert all(one.ended(f"h{number}") for number in range(100))
    assert one.echoes("c", GET % b"a.test")
    for number in range(100):
        one.do(do="close", **{"as": f"h{number}"})


@pytest.mark.usefixtures("deaf")
def test_a_server_that_never_reads_holds_only_its_client(
    seats: tuple[Seat, Seat],
) -> None:
    """What it does not take waits in the kernel; the gateway does not gather it."""
    one, two = seats
    gateway = gateway_of(one.agent.pid)
    address = one.resolve("deaf.test")
    before = memory(gateway)
    for number in range(20):
        one.open(f"d{number}", address, 7000)
        one.send(f"d{number}", b"\0")
        one.must(do="flood", **{"as": f"d{number}"}, count=64 * MEGABYTE)
    neighbour_is_served(two)
    assert memory(gateway) - before < 20 * MEGABYTE
    # The client is held back: it could not get rid of all it had.
    sent = [one.must(do="flooded", **{"as": f"d{n}"})["sent"] for n in range(20)]
    assert max(sent) < 32 * MEGABYTE
    done = one.update(policy("a.test", "gone.test", "reset.test"))
    assert done["cut"] == 20
    assert all(one.ended(f"d{number}") for number in range(20))
    for number in range(20):
        one.do(do="close", **{"as": f"d{number}"})


def test_a_devbox_that_never_reads_holds_only_its_server(
    lab: Lab, seats: tuple[Seat, Seat]
) -> None:
    """The other direction: a server sends without end, and nobody takes it."""
    one, two = seats
    gateway = gateway_of(one.agent.pid)
    address, mark = one.resolve("a.test"), lab.mark()
    before = memory(gateway)
    for number in range(20):
        one.open(f"b{number}", address, 7000)
        one.send(f"b{number}", b"BYTES 9000000000\n")
    neighbour_is_served(two)
    time.sleep(0.5)
    assert memory(gateway) - before < 20 * MEGABYTE
    sent = [e.bytes_out for e in lab.since(mark) if (e.kind, e.port) == ("tcp", 7000)]
    assert len(sent) == 20
    assert max(sent) < 64 * MEGABYTE
    for number in range(20):
        one.do(do="close", **{"as": f"b{number}"})
    lab.wait_for(lambda entry: is_closed(entry, mark), since=mark)


def is_closed(entry: Entry, mark: int) -> bool:
    return entry.id > mark and entry.port == 7000 and bool(entry.closed)


def test_one_address_of_several_that_is_dead(seats: tuple[Seat, Seat]) -> None:
    """The devbox chose a dead one of several: it is not told so, it is connected."""
    one, _ = seats
    one.resolve("gone.test")
    one.open("c", HOLE, 80)
    started = time.monotonic()
    one.send("c", GET % b"gone.test")
    got = one.recv("c", b"hello", patience=30)
    print(f"connected after {time.monotonic() - started:.2f} s")
    assert b"hello" in got
    assert time.monotonic() - started < 5


def test_a_server_that_resets_ends_the_connection(
    lab: Lab, seats: tuple[Seat, Seat]
) -> None:
    one, _ = seats
    one.open("c", one.resolve("reset.test"), 7000)
    one.send("c", b"hello\n")
    assert one.ended("c")
    flows = one.agent.wait_for_flows(1, name="reset.test", kind="tcp")
    assert flows[0]["verdict"] == "allow"
