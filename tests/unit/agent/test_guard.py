"""The guard of the gateway's network: repaired, or no devbox goes on."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable
from typing import Any

import pytest

from stockade.agent import agent as module
from stockade.agent.agent import HostAgent
from stockade.agent.launch import GatewayProcess, Launched
from stockade.command import spawn
from stockade.config import Settings
from stockade.errors import EnforcementError
from stockade.gateway.settings import GatewaySettings
from tests.unit.gateway.fakes import run


class Network:
    """A network that is found as it is told to be."""

    def __init__(
        self, found: Callable[[], list[str]], repair: Exception | None
    ) -> None:
        self._found = found
        self._repair = repair
        self.repaired = 0

    def verify(self) -> list[str]:
        return [] if self.repaired else self._found()

    def repair(self) -> None:
        if self._repair is not None:
            raise self._repair
        self.repaired += 1


class Running:
    """A devbox, as far as the guard is concerned."""

    def __init__(self) -> None:
        self.signals: list[int] = []

    def signal(self, number: int) -> None:
        self.signals.append(number)


def flushed() -> list[str]:
    return ["the gateway namespace has lost its ruleset"]


def unreadable() -> list[str]:
    raise KeyError("expr")


async def guarded(network: Network) -> Running:
    """What becomes of a devbox while the network is guarded for a moment."""
    process = spawn(["true"])
    process.wait()
    ours, theirs = socket.socketpair()
    gateway = GatewayProcess(process, ours, theirs)
    launched: Any = Launched(network, ((GatewaySettings({}), gateway),))  # type: ignore[arg-type]
    agent = HostAgent(Settings(), launched, print, print)
    devbox = Running()
    agent._devboxes["dbx_1"] = devbox  # type: ignore[assignment]
    guard = asyncio.get_running_loop().create_task(agent._guard_network())
    await asyncio.sleep(0.1)
    assert not guard.done()
    guard.cancel()
    await asyncio.gather(guard, return_exceptions=True)
    ours.close()
    theirs.close()
    return devbox


@pytest.mark.parametrize(
    ("found", "repair", "ended", "said"),
    [
        pytest.param(list, None, False, "", id="nothing was changed"),
        pytest.param(flushed, None, False, "was changed", id="repaired"),
        pytest.param(
            flushed,
            EnforcementError("the gateway cannot be repaired"),
            True,
            "cannot be repaired",
            id="cannot be repaired",
        ),
        pytest.param(unreadable, None, True, "ended", id="cannot be read at all"),
        pytest.param(
            flushed, OSError("no memory"), True, "no memory", id="fails in another way"
        ),
    ],
)
def test_what_is_not_proven_does_not_go_on(
    found: Callable[[], list[str]],
    repair: Exception | None,
    ended: bool,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(module, "VERIFY_SECONDS", 0.01)
    network = Network(found, repair)
    devbox = run(guarded(network))
    assert (signal.SIGKILL in devbox.signals) is ended
    assert network.repaired == (found is flushed and repair is None)
    assert said in caplog.text
