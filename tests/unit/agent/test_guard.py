"""The guard of the gateway's network: repaired, or no devbox goes on."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Collection, Mapping
from typing import Any

import pytest

from stockade.agent import guard as module
from stockade.agent.guard import NetworkGuard
from stockade.errors import EnforcementError
from stockade.host.slots import Slot
from tests.unit.gateway.fakes import run

Ended = list[Collection[Slot] | None]


class Changes:
    """A pipe: what is written to it is a change."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe2(os.O_NONBLOCK)

    def tell(self) -> None:
        os.write(self._write, b"x")

    def filenos(self) -> tuple[int, ...]:
        return (self._read,)

    def drain(self) -> None:
        try:
            os.read(self._read, 4096)
        except BlockingIOError:
            pass

    def close(self) -> None:
        os.close(self._read)
        os.close(self._write)


class Network:
    """A network that is found as it is told to be."""

    def __init__(
        self,
        found: Callable[[], list[str]],
        repair: Exception | None = None,
        lost: Mapping[Slot, str] | None = None,
        *,
        failures: int = 1_000,
    ) -> None:
        self._found = found
        self._repair = repair
        self._lost = lost or {}
        self._failures = failures
        self.read = 0
        self.repaired = 0
        self.told = Changes()

    def changes(self) -> Any:
        return self.told

    def verify(self) -> list[str]:
        self.read += 1
        return [] if self.repaired else self._found()

    def repair(self) -> Mapping[Slot, str]:
        if self._repair is not None and self._failures:
            self._failures -= 1
            raise self._repair
        self.repaired += 1
        return self._lost


def flushed() -> list[str]:
    return ["the gateway namespace has lost its ruleset"]


def unreadable() -> list[str]:
    raise KeyError("expr")


async def guarded(network: Network, seconds: float = 0.15) -> Ended:
    """Which devboxes are ended while the network is guarded for a moment."""
    ended: Ended = []
    guard = asyncio.ensure_future(NetworkGuard(network, ended.append).run())
    await asyncio.sleep(seconds)
    assert not guard.done()
    guard.cancel()
    await asyncio.gather(guard, return_exceptions=True)
    return ended


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("VERIFY_SECONDS", "SETTLE_SECONDS", "RETRY_SECONDS"):
        monkeypatch.setattr(module, name, 0.01)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("network", "ended", "said"),
    [
        pytest.param(lambda: Network(list), None, "", id="nothing was changed"),
        pytest.param(lambda: Network(flushed), None, "was changed", id="repaired"),
        pytest.param(
            lambda: Network(flushed, OSError("no memory"), failures=2),
            None,
            "trying again",
            id="repaired at the third attempt",
        ),
        pytest.param(
            lambda: Network(flushed, EnforcementError("it cannot be repaired")),
            "all",
            "cannot be repaired; all devboxes are ended",
            id="cannot be repaired",
        ),
        pytest.param(
            lambda: Network(unreadable), "all", "ended", id="cannot be read at all"
        ),
        pytest.param(
            lambda: Network(flushed, lost={Slot(3): "another way out"}),
            "one",
            "sb3 is ended: another way out",
            id="one devbox cannot be connected again",
        ),
    ],
)
def test_what_is_not_proven_does_not_go_on(
    network: Callable[[], Network],
    ended: str | None,
    said: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    made = network()
    found = run(guarded(made))
    if ended is None:
        assert found == []
    elif ended == "all":
        assert set(map(type, found)) == {type(None)}
    else:
        assert found == [{Slot(3): "another way out"}]
    assert said in caplog.text


def test_a_change_is_read_back_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing is read back while nothing changes."""
    monkeypatch.setattr(module, "VERIFY_SECONDS", 60.0)
    monkeypatch.setattr(module, "SETTLE_SECONDS", 0.01)

    async def main() -> None:
        network = Network(flushed)
        guard = asyncio.ensure_future(NetworkGuard(network, print).run())
        await asyncio.sleep(0.1)
        assert network.read == 0
        network.told.tell()
        for _ in range(100):
            await asyncio.sleep(0.02)
            if network.repaired:
                break
        assert network.repaired == 1
        guard.cancel()
        await asyncio.gather(guard, return_exceptions=True)

    run(main())
