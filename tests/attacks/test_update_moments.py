"""A policy changes between two steps of one connection.

Each moment is tried twice: with a change that takes the name away, after which nothing
more may arrive, and with one that keeps it, after which everything must.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.attacks.agents import policy, running_agent
from tests.attacks.builders import ALERT_ACCESS_DENIED, hello
from tests.attacks.seats import Seat
from tests.lab import Lab
from tests.lab.addresses import v4
from tests.lab.record import Entry
from tests.lab.zone import Behaviour

NAME, OTHER = "moment.test", "other.test"
ADDRESS = v4(170)
BEFORE = policy(NAME, OTHER)
TAKEN, KEPT = policy(OTHER), policy(NAME)
CHANGES = pytest.mark.parametrize(
    ("change", "kept"),
    [pytest.param(TAKEN, False, id="taken"), pytest.param(KEPT, True, id="kept")],
)
REQUEST = b"GET /hello HTTP/1.1\r\nHost: moment.test\r\n\r\n"


@pytest.fixture(scope="module")
def devbox(lab: Lab, default_image: None) -> Iterator[Seat]:
    with running_agent(lab) as agent:
        yield Seat(agent, "one", policy())


@pytest.fixture
def seat(lab: Lab, devbox: Seat) -> Seat:
    """A devbox in which nothing is open, and to which everything is allowed."""
    lab.set_name(NAME, a=[ADDRESS])
    devbox.update(policy())
    devbox.update(BEFORE)
    return devbox


def arrived(lab: Lab, mark: int) -> list[Entry]:
    """The connections and datagrams that have reached the name's address."""
    return [
        e for e in lab.since(mark) if e.address == ADDRESS and e.kind in ("tcp", "udp")
    ]


@CHANGES
@pytest.mark.parametrize(
    ("port", "first", "answer"),
    [
        pytest.param(7000, b"opaque\n", b"opaque", id="opaque"),
        pytest.param(80, REQUEST, b"hello", id="http"),
        pytest.param(443, hello(NAME), b"\x16\x03", id="tls"),
    ],
)
def test_between_lookup_and_connection(
    lab: Lab,
    seat: Seat,
    change: dict[str, object],
    kept: bool,
    port: int,
    first: bytes,
    answer: bytes,
) -> None:
    """The devbox holds an address that was told it while the name was allowed."""
    address, mark = seat.resolve(NAME), lab.mark()
    seat.update(change)
    seat.open("c", address, port)
    seat.send("c", first)
    got = seat.recv("c", answer)
    assert (answer in got) is kept
    assert bool(arrived(lab, mark)) is kept


@CHANGES
def test_between_lookup_and_datagram(
    lab: Lab, seat: Seat, change: dict[str, object], kept: bool
) -> None:
    address, mark = seat.resolve(NAME), lab.mark()
    seat.update(change)
    seat.open("c", address, 7777, udp=True)
    assert seat.echoes("c", b"ping") is kept
    assert bool(arrived(lab, mark)) is kept


def test_between_a_denied_lookup_and_the_connection(lab: Lab, seat: Seat) -> None:
    """The name was denied when it was asked for, and is allowed when it is used.

    The devbox connects to the address that stands for a denied name.
    """
    seat.update(TAKEN)
    address = seat.resolve(NAME)
    assert address != ADDRESS
    for names, port in ((TAKEN, 81), (KEPT, 82)):
        mark = lab.mark()
        seat.update(names)
        seat.open("c", address, port)
        seat.send("c", REQUEST)
        got = seat.recv("c", b"\r\n\r\n")
        assert (b" 200 " in got) is (names is KEPT)
        assert (b" 403 " in got) is (names is TAKEN)
        assert bool(arrived(lab, mark)) is (names is KEPT)


@CHANGES
@pytest.mark.parametrize("sent", [0, 1, 150], ids="{} octets".format)
def test_between_connection_and_the_end_of_the_hello(
    lab: Lab, seat: Seat, change: dict[str, object], kept: bool, sent: int
) -> None:
    """Nothing of the client is forwarded before the whole hello was judged.

    The gateway may have connected already, since a lookup covers the address.
    """
    whole = hello(NAME)
    seat.open("c", seat.resolve(NAME), 443)
    if sent:
        seat.send("c", whole[:sent])
    mark = lab.mark()
    seat.update(change)
    seat.send("c", whole[sent:])
    got = seat.recv("c", patience=2)
    assert (got[:2] == b"\x16\x03") is kept
    assert got in (b"", ALERT_ACCESS_DENIED) or kept
    assert any(e.kind == "tls" for e in lab.since(mark)) is kept


@CHANGES
def test_between_hello_and_connection(
    lab: Lab, seat: Seat, change: dict[str, object], kept: bool
) -> None:
    """The name is being looked up for the connection, and that takes its time."""
    lab.set_name(NAME, a=[ADDRESS], behaviour=Behaviour.DROP)
    fresh = f"new{time.monotonic_ns()}.test"  # Not in the gateway's memory.
    lab.set_name(fresh, a=[ADDRESS], behaviour=Behaviour.DROP)
    allowed = policy(fresh, OTHER)
    seat.update(allowed)
    seat.open("c", ADDRESS, 80, patience=5)
    seat.send("c", f"GET /hello HTTP/1.1\r\nHost: {fresh}\r\n\r\n".encode())
    mark = lab.mark()
    lab.wait_for(lambda e: e.kind == "dns" and e.name.lower() == fresh)
    assert seat.update(change if not kept else allowed)["cut"] == (not kept)
    lab.set_name(fresh, a=[ADDRESS])
    # The resolver is asked again after some seconds.
    got = seat.recv("c", b"hello", patience=5)
    assert (b"hello" in got) is kept
    assert bool(arrived(lab, mark)) is kept


@CHANGES
def test_between_two_requests(
    lab: Lab, seat: Seat, change: dict[str, object], kept: bool
) -> None:
    seat.open("c", seat.resolve(NAME), 80)
    seat.asks("c", REQUEST, b"hello")
    mark = lab.mark()
    done = seat.update(change)
    assert done["cut"] == (not kept)
    assert seat.echoes("c", REQUEST) is kept
    assert any(e.kind == "http" for e in lab.since(mark)) is kept


@CHANGES
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_in_the_middle_of_a_body(
    lab: Lab, seat: Seat, change: dict[str, object], kept: bool, chunked: bool
) -> None:
    """The rest of a body that was begun under the policy before."""
    half = b"x" * 5_000
    if chunked:
        framing, rest = "Transfer-Encoding: chunked", half + b"\r\n0\r\n\r\n"
        first = b"2710\r\n" + half
    else:
        framing, first, rest = "Content-Length: 10000", half, half
    head = f"POST /sha256 HTTP/1.1\r\nHost: {NAME}\r\n{framing}\r\n\r\n".encode()
    address, mark = seat.resolve(NAME), lab.mark()
    seat.open("c", address, 80)
    seat.send("c", head + first)
    lab.wait_for(lambda e: e.kind == "tcp" and e.bytes_in >= len(half), since=mark)
    assert seat.update(change)["cut"] == (not kept)
    seat.send("c", rest)
    assert (b" 200 " in seat.recv("c", b"\r\n\r\n")) is kept
    (connection,) = arrived(lab, mark)
    assert connection.bytes_in == len(head + first) + (len(rest) if kept else 0)


@CHANGES
def test_within_an_upgrade(
    lab: Lab, seat: Seat, change: dict[str, object], kept: bool
) -> None:
    """The server has agreed to nothing yet, and from its answer on nobody reads along."""
    lab.set_service(ADDRESS, "slow")  # It says nothing for a second.
    try:
        address, mark = seat.resolve(NAME), lab.mark()
        seat.open("c", address, 80)
        upgrade = (
            f"GET / HTTP/1.1\r\nHost: {NAME}\r\nConnection: Upgrade\r\n"
            "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        seat.send("c", upgrade.encode())
        lab.wait_for(lambda e: e.kind == "tcp" and e.address == ADDRESS, since=mark)
        assert seat.update(change)["cut"] == (not kept)
        assert (b" 101 " in seat.recv("c", b"\r\n\r\n")) is kept
    finally:
        lab.set_service(ADDRESS, "auto")


@CHANGES
def test_between_a_question_and_its_answer(
    lab: Lab, seat: Seat, change: dict[str, object], kept: bool
) -> None:
    """Asked while it was allowed, answered when it may no longer be: not with it."""
    fresh = f"late{time.monotonic_ns()}.test"
    lab.set_name(fresh, a=[ADDRESS], behaviour=Behaviour.DROP)
    seat.update(policy(fresh))
    mark = lab.mark()
    step = f'{{"do": "resolve", "name": "{fresh}"}}'
    before = len(seat.agent.output(seat.name))
    seat.agent.call("tell", name=seat.name, line=step)
    lab.wait_for(lambda e: e.kind == "dns" and e.name.lower() == fresh, since=mark)
    seat.update(policy(fresh, OTHER) if kept else change)
    lab.set_name(fresh, a=[ADDRESS])
    deadline = time.monotonic() + 15
    while "\n" not in (said := seat.agent.output(seat.name)[before:]):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert (ADDRESS in said) is kept
