"""What becomes of a push: taken, repeated, refused, broken, caught in a restart."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import pytest

from tests.attacks.agents import policy, running_agent
from tests.attacks.processes import gateway_of, wait_until
from tests.attacks.seats import Seat
from tests.lab import Lab

A, B = policy("a.test"), policy("b.test")
BOTH = policy("a.test", "b.test")


@pytest.fixture(scope="module")
def devbox(lab: Lab, default_image: None) -> Iterator[Seat]:
    with running_agent(lab) as agent:
        yield Seat(agent, "one", policy())


@pytest.fixture
def seat(devbox: Seat) -> Seat:
    """A devbox under policy `A`."""
    devbox.update(A)
    return devbox


def reached(lab: Lab, seat: Seat) -> set[str]:
    """Those of the names that a request reaches now, as the lab has it."""
    mark = lab.mark()
    for name in ("a.test", "b.test"):
        seat.do(do="connect", **{"as": name}, host=lab.v4(name), port=80)
        seat.send(name, f"GET /hello HTTP/1.1\r\nHost: {name}\r\n\r\n".encode())
    for name in ("a.test", "b.test"):
        seat.recv(name)
        seat.do(do="close", **{"as": name})
    return {entry.name for entry in lab.since(mark) if entry.kind == "http"}


def test_what_is_acknowledged_is_in_force(lab: Lab, seat: Seat) -> None:
    """A name comes and goes; each time, the first connection finds it so. No race."""
    for generation in range(40):
        wider = generation % 2 == 0
        seat.update(BOTH if wider else A)
        mark = lab.mark()
        seat.open("c", lab.v4("b.test"), 80)
        seat.send("c", b"GET /hello HTTP/1.1\r\nHost: b.test\r\n\r\n")
        got = seat.recv("c", b"\r\n\r\n")
        assert (b" 200 " in got, b" 403 " in got) == (wider, not wider)
        assert bool(lab.seen(since=mark, kind="http")) is wider


def test_the_same_again_changes_nothing(lab: Lab, seat: Seat) -> None:
    done = seat.update(A)
    seat.open("c", lab.v4("a.test"), 80)
    seat.asks("c", b"GET /hello HTTP/1.1\r\nHost: a.test\r\n\r\n", b"hello")
    again = seat.update(A, generation=done["generation"])
    assert (again["digest"], again["cut"]) == (done["digest"], 0)
    assert seat.echoes("c", b"GET /hello HTTP/1.1\r\nHost: a.test\r\n\r\n")


@pytest.mark.parametrize("older", [0, 1, 5])
@pytest.mark.parametrize("restart", [False, True], ids=["", "with a new gateway"])
def test_what_may_not_follow_is_refused(
    lab: Lab, seat: Seat, older: int, restart: bool
) -> None:
    """An older generation, or another content under the same one, takes no effect.

    Nor does it by way of the next gateway.
    """
    generation = seat.update(A)["generation"]
    if restart:
        os.kill(gateway_of(seat.agent.pid), signal.SIGKILL)
    refused = seat.update(BOTH, generation=generation - older)
    assert refused["kind"] == "Conflict", refused
    assert ("older" in refused["error"]) is bool(older)
    assert reached(lab, seat) == {"a.test"}
    # The control: the next generation with the same content is taken.
    assert seat.update(BOTH)["generation"] > generation
    assert reached(lab, seat) == {"a.test", "b.test"}


def test_a_push_that_cannot_be_read_denies_everything(lab: Lab, seat: Seat) -> None:
    """It says so, to whoever pushed and on record; and so it stays until the next push."""
    seat.open("c", lab.v4("a.test"), 80)
    seat.asks("c", b"GET /hello HTTP/1.1\r\nHost: a.test\r\n\r\n", b"hello")
    refused = seat.update(BOTH, damaged=True)
    assert refused["kind"] == "Quarantined"
    assert "denies everything (1 flows cut)" in refused["error"]
    assert seat.ended("c")
    assert reached(lab, seat) == set()
    (status,) = seat.agent.call("status")["devboxes"]
    assert (status["policy_id"], status["generation"]) == (None, None)
    reasons = seat.agent.wait_for_flows(2, reason="policy_unavailable", kind="http")
    assert {flow["verdict"] for flow in reasons} == {"deny"}
    # The next gateway does not fall back to what was in force before.
    gateway = gateway_of(seat.agent.pid)
    os.kill(gateway, signal.SIGKILL)
    wait_until(lambda: gateway_of(seat.agent.pid) != gateway, "another gateway")
    assert reached(lab, seat) == set()
    assert seat.devbox in seat.agent.said()
    seat.update(A)
    assert reached(lab, seat) == {"a.test"}


def test_a_push_to_nobody_is_refused(lab: Lab, seat: Seat) -> None:
    other = Seat(seat.agent, "two", A)
    seat.agent.call("remove", name="two")
    assert other.update(BOTH)["kind"] == "NotFound"
    assert reached(lab, seat) == {"a.test"}


@pytest.mark.parametrize("pause", [0.0, 0.02, 0.1, 0.3])
def test_a_push_in_a_restart_is_not_lost(lab: Lab, seat: Seat, pause: float) -> None:
    """The gateway is killed just before the push: it is in force when it is acknowledged.

    And soon: the caller waits for the next gateway, and not for a time-out.
    """
    for wanted, names in ((BOTH, {"a.test", "b.test"}), (B, {"b.test"})):
        os.kill(gateway_of(seat.agent.pid), signal.SIGKILL)
        time.sleep(pause)
        started = time.monotonic()
        done = seat.update(wanted)
        assert "error" not in done, done
        assert time.monotonic() - started < 5
        assert reached(lab, seat) == names


def test_pushes_outlive_many_restarts(lab: Lab, seat: Seat) -> None:
    """Killed right after each push was sent; the latest is what counts in the end."""
    for number in range(6):
        seat.agent.ask("update", name=seat.name, policy=B if number % 2 else BOTH)
        os.kill(gateway_of(seat.agent.pid), signal.SIGKILL)
        done = seat.agent.answer()
        assert "error" not in done, done
    assert reached(lab, seat) == {"b.test"}
    assert seat.update(A)["cut"] == 0
    assert reached(lab, seat) == {"a.test"}
