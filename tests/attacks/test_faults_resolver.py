"""The resolver of the machine is dead, slow, or lies.

A devbox is told the truth or that there is none, never a lie, and not even a question of
another devbox waits for it.
"""

from __future__ import annotations

import itertools
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.attacks.agents import policy, running_agent
from tests.attacks.builders import question
from tests.attacks.seats import Seat
from tests.lab import Lab
from tests.lab.addresses import DIRECT4, RESOLVER4, v4
from tests.lab.netns import ETC

ROGUE = Path(__file__).parent / "probes" / "rogue.py"
X, TRUTH = v4(66), v4(10)
HOLE = v4(28)
SERVFAIL = 2

fresh = map("{}.w.test".format, itertools.count(time.monotonic_ns()))
Tell = Callable[[str], None]


@pytest.fixture(scope="module")
def seats(lab: Lab, default_image: None) -> Iterator[tuple[Seat, Seat]]:
    with running_agent(lab) as agent:
        yield (
            Seat(agent, "one", policy("*.w.test")),
            Seat(agent, "two", policy("a.test")),
        )


@pytest.fixture
def resolvers(lab: Lab) -> Iterator[Callable[..., None]]:
    """Sets the resolvers of the machine, and sets them back."""
    path = ETC / lab.host / "resolv.conf"

    def set_to(*addresses: str) -> None:
        path.write_text("".join(f"nameserver {address}\n" for address in addresses))

    yield set_to
    set_to(RESOLVER4)


@pytest.fixture(scope="module")
def rogue(lab: Lab) -> Iterator[Tell]:
    """Tells the resolver at `DIRECT4[1]` how to misbehave."""
    process = lab.popen_inet(
        [sys.executable, str(ROGUE), DIRECT4[1], X, TRUTH],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        given, said = process.stdin, process.stdout
        assert said.readline() == "ready\n"

        def tell(mode: str) -> None:
            given.write(mode + "\n")
            given.flush()
            assert said.readline() == "told\n"

        yield tell
        given.close()


class Answer:
    """What a devbox was told, and after how long."""

    def __init__(self, seat: Seat, name: str, patience: float = 10.0) -> None:
        started = time.monotonic()
        seat.open("dns", seat.told["gateway4"], 53, udp=True)
        seat.send("dns", question(name))
        self.message = seat.recv("dns", patience=patience)
        self.seconds = time.monotonic() - started
        self.rcode = self.message[3] & 15 if self.message else None

    def __contains__(self, address: str) -> bool:
        return socket.inet_aton(address) in self.message


@pytest.mark.parametrize(
    "mode",
    ["good", "slow", "wrong id", "wrong case", "wrong port", "wrong address"],
)
def test_the_truth_is_waited_for(
    seats: tuple[Seat, Seat], resolvers: Callable[..., None], rogue: Tell, mode: str
) -> None:
    resolvers(DIRECT4[1])
    rogue(mode)
    answer = Answer(seats[0], next(fresh))
    assert (answer.rcode, TRUTH in answer, X in answer) == (0, True, False)


@pytest.mark.parametrize("mode", ["another name", "lies in front", "lies behind"])
def test_what_was_not_asked_for_is_not_learnt(
    seats: tuple[Seat, Seat], resolvers: Callable[..., None], rogue: Tell, mode: str
) -> None:
    """Records about other names, in the answer or beside it: not given, not remembered.

    Were they, whoever answers for one name could answer for all.
    """
    resolvers(DIRECT4[1])
    rogue(mode)
    told = Answer(seats[0], next(fresh))
    assert (TRUTH in told, X in told) == (mode != "another name", False)
    rogue("good")
    victim = Answer(seats[0], f"{mode.replace(' ', '-')}.w.test")
    assert (TRUTH in victim, X in victim) == (True, False)


@pytest.mark.parametrize("mode", ["servfail", "refused", "truncating"])
def test_what_cannot_be_used_is_a_failure_at_once(
    seats: tuple[Seat, Seat], resolvers: Callable[..., None], rogue: Tell, mode: str
) -> None:
    """It is no denial, it is not remembered, and the record says what it was."""
    resolvers(DIRECT4[1])
    rogue(mode)
    name = next(fresh)
    answer = Answer(seats[0], name)
    assert (answer.rcode, X in answer) == (SERVFAIL, False)
    assert DIRECT4[1].encode() in answer.message  # The extended error names it.
    failed = seats[0].agent.wait_for_flows(1, kind="dns", name=name)
    assert failed[0]["verdict"] == "allow"
    assert DIRECT4[1] in failed[0]["error"]
    rogue("good")
    assert TRUTH in Answer(seats[0], name)


def test_a_resolver_that_only_lies_keeps_nobody_else_waiting(
    lab: Lab, seats: tuple[Seat, Seat], resolvers: Callable[..., None], rogue: Tell
) -> None:
    """Many questions wait for it; a neighbour that asks for what is known does not."""
    one, two = seats
    assert two.resolve("a.test") == v4(10)
    resolvers(DIRECT4[1])
    rogue("only lies")
    one.open("many", one.told["gateway4"], 53, udp=True)
    for _ in range(100):
        one.send("many", question(next(fresh)))
    two.open("c", v4(10), 80)
    two.asks("c", b"GET /hello HTTP/1.1\r\nHost: a.test\r\n\r\n", b"hello")
    assert Answer(two, "a.test").seconds < 1.5
    failed = one.recv("many", patience=15)
    assert failed[3] & 15 == SERVFAIL
    assert socket.inet_aton(X) not in failed
    # The machine gets another resolver: the next question goes there.
    resolvers(RESOLVER4)
    mark = lab.mark()
    answer = Answer(one, next(fresh))
    assert v4(20) in answer
    assert answer.seconds < 1.5
    assert {e.address for e in lab.since(mark) if e.kind == "dns"} == {RESOLVER4}


def test_one_dead_resolver_of_two_costs_one_question_some_time(
    seats: tuple[Seat, Seat], resolvers: Callable[..., None]
) -> None:
    resolvers(HOLE, RESOLVER4)
    first, *others = (Answer(seats[0], next(fresh)) for _ in range(4))
    assert v4(20) in first
    for answer in others:
        assert v4(20) in answer
        assert answer.seconds < min(first.seconds, 1.5)


def test_without_any_resolver_it_says_so(
    seats: tuple[Seat, Seat], resolvers: Callable[..., None]
) -> None:
    resolvers()
    answer = Answer(seats[0], next(fresh))
    assert answer.rcode == SERVFAIL
    assert b"no resolver" in answer.message
    resolvers(RESOLVER4)
    assert v4(20) in Answer(seats[0], next(fresh))
