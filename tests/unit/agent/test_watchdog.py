"""A gateway that runs and does not serve: told from one that is only busy."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

from stockade.agent import watchdog as module
from stockade.agent.control_client import GatewayGone
from stockade.agent.watchdog import MAX_UNANSWERED, Watchdog, is_stopped
from stockade.command import Process, spawn
from tests.unit.gateway.fakes import run


class Control:
    """Answers a ping after some looks; None is never."""

    def __init__(self, looks: float | None = 0) -> None:
        self.looks = looks
        self.pings = 0
        self.ended = False

    async def request(self, op: str, **_: Any) -> dict[str, Any]:
        assert op == "ping"
        self.pings += 1
        if self.looks is None:
            await asyncio.sleep(60)
            raise GatewayGone("no answer")
        await asyncio.sleep(self.looks * module.LOOK_SECONDS)
        return {}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.01)


@pytest.fixture
def process() -> Iterator[Process[bytes]]:
    started = spawn(["sleep", "60"])
    yield started
    started.kill()
    started.wait()


async def watched(
    process: Process[bytes], control: Control, seconds: float = 0.5
) -> str | None:
    """What the watchdog says within a while; None if nothing."""
    dog = Watchdog(process, control, lambda: not control.ended)
    try:
        async with asyncio.timeout(seconds):
            return await dog.until_useless()
    except TimeoutError:
        return None


@pytest.mark.parametrize("looks", [0, 0.5, MAX_UNANSWERED / 2])
def test_one_that_answers_is_left_alone(process: Process[bytes], looks: float) -> None:
    control = Control(looks)
    assert run(watched(process, control)) is None
    assert control.pings > 1


def test_one_that_never_answers_is_of_no_use(process: Process[bytes]) -> None:
    said = run(watched(process, Control(None), 5))
    assert said is not None
    assert "has not answered" in said


def test_one_that_is_cut_off_is_of_no_use(process: Process[bytes]) -> None:
    control = Control()
    control.ended = True
    assert run(watched(process, control)) == "its control connection ended"


def test_it_is_not_to_blame_for_an_agent_that_does_not_run(
    process: Process[bytes],
) -> None:
    """However long nothing of the agent runs, that is one look."""

    async def main() -> None:
        control = Control(0.5)
        dog = asyncio.ensure_future(watched(process, control, 3))
        for _ in range(5):
            await asyncio.sleep(0.03)
            time.sleep(MAX_UNANSWERED * module.LOOK_SECONDS * 1.5)  # noqa: ASYNC251
        assert not dog.done()
        dog.cancel()

    run(main())


def test_one_that_is_stopped_is_told_to_go_on(process: Process[bytes]) -> None:
    async def main() -> None:
        dog = asyncio.ensure_future(watched(process, Control(), 2))
        os.kill(process.pid, signal.SIGSTOP)
        for _ in range(100):
            await asyncio.sleep(0.01)
            if not is_stopped(process.pid):
                break
        assert not is_stopped(process.pid)
        assert not dog.done()
        dog.cancel()

    run(main())


def test_one_that_is_stopped_all_the_time_is_of_no_use(
    process: Process[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "is_stopped", lambda _: True)
    assert run(watched(process, Control(), 5)) == "it is stopped again and again"


def test_what_is_no_process_is_not_stopped(process: Process[bytes]) -> None:
    assert not is_stopped(process.pid)
    assert not is_stopped(2**22 + 1)
