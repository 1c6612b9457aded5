"""Several addresses of a name: who is tried, when, and what becomes of the others."""

from __future__ import annotations

import asyncio
import socket
from ipaddress import ip_address

import pytest

from stockade.gateway import racing as module
from stockade.gateway.events import EventQueue
from stockade.gateway.racing import dial_first
from stockade.gateway.sides import Side
from stockade.policy.decide import Flow
from stockade.policy.guardrails import Address
from tests.unit.gateway.fakes import run, side

HOSTS = [Flow(443, address=ip_address(f"203.0.113.{number}")) for number in range(3)]


class Dialer:
    """Answers after the seconds told for each address; fails if they are below zero."""

    def __init__(self, *delays: float) -> None:
        self._delays = {
            flow.address: delay for flow, delay in zip(HOSTS, delays, strict=False)
        }
        self.asked: list[str] = []
        self.ours: list[Side] = []
        self.theirs: list[socket.socket] = []
        self._begun: dict[Side, tuple[Address, float]] = {}

    def begin(self, address: Address, port: int, queue: EventQueue) -> Side:
        self.asked.append(str(address)[-1])
        ours, theirs = socket.socketpair()
        self.theirs.append(theirs)
        self.ours.append(side(ours, queue))
        self._begun[self.ours[-1]] = address, asyncio.get_running_loop().time()
        return self.ours[-1]

    async def is_connected(self, side: Side, seconds: float) -> bool:
        address, since = self._begun[side]
        delay = self._delays[address]
        left = since + abs(delay) - asyncio.get_running_loop().time()
        try:
            await asyncio.sleep(max(0, min(left, seconds)))
        except BaseException:
            side.close()
            raise
        if left > seconds:
            return False
        if delay < 0:
            side.close()
            raise OSError(f"no {address}")
        return True

    async def dial(self, address: Address, port: int, queue: EventQueue) -> Side:
        raise NotImplementedError


async def race(dialer: Dialer, count: int = 3) -> str:
    """Who won; or what the last failure said."""
    try:
        won, facts = await dial_first(dialer, HOSTS[:count], EventQueue())
    except OSError as error:
        return str(error)
    finally:
        for theirs in dialer.theirs:
            theirs.close()
    for _ in range(4):  # The others are told, and end in turns of their own.
        await asyncio.sleep(0)
    open_still = [one for one in dialer.ours if one.sock.fileno() >= 0]
    assert open_still == [won]
    won.close()
    return str(facts.address)[-1]


@pytest.mark.parametrize(
    ("delays", "winner", "asked"),
    [
        pytest.param((0, 0, 0), "0", "0", id="the first answers: nobody else is asked"),
        pytest.param((9, 0, 0), "1", "01", id="the first is dead"),
        pytest.param((9, 9, 0), "2", "012", id="two are dead"),
        pytest.param((-0.0001, 0, 0), "1", "01", id="the first fails"),
        pytest.param((0.15, 9, 9), "0", "012", id="the first is slow, the others dead"),
        pytest.param((0.05, 0.0, 0), "0", "01", id="both at the same time"),
        pytest.param(
            (-0.0001, -0.0001, -0.0001), "no 203.0.113.2", "012", id="all fail"
        ),
    ],
)
def test_the_first_that_answers_is_the_one(
    delays: tuple[float, ...],
    winner: str,
    asked: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "HEAD_START", 0.05)
    dialer = Dialer(*delays)
    found = run(race(dialer))
    if asked == "01" and winner == "0":
        assert found in "01"
    else:
        assert (found, "".join(dialer.asked)) == (winner, asked)


@pytest.mark.parametrize("turns", range(8))
@pytest.mark.parametrize("again", range(4))
def test_who_gives_up_leaves_nothing_open(turns: int, again: int) -> None:
    """Told to end at any moment, and once more soon after."""

    async def main() -> None:
        dialer = Dialer(-0.0001, 0, 0)
        task = asyncio.ensure_future(dial_first(dialer, HOSTS, EventQueue()))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        for _ in range(again):
            await asyncio.sleep(0)
        task.cancel()
        (outcome,) = await asyncio.gather(task, return_exceptions=True)
        if isinstance(outcome, tuple):
            outcome[0].close()
        for _ in range(4):
            await asyncio.sleep(0)
        assert {one.sock.fileno() for one in dialer.ours} <= {-1}
        for theirs in dialer.theirs:
            theirs.close()

    run(main())
