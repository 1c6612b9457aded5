"""One gateway process after the other: how soon, and whatever goes wrong."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import pytest

from stockade.agent import keeper as module
from stockade.agent.keeper import GatewayKeeper
from stockade.agent.launch import GatewayProcess
from stockade.command import Process, spawn
from stockade.errors import EnforcementError
from stockade.gateway.settings import GatewaySettings
from tests.unit.gateway.fakes import run


class World:
    """Processes that stand for gateways, and what their keeper did with them."""

    def __init__(self) -> None:
        self.started: list[Process[bytes]] = []
        self.told: list[str] = []
        self.useless = asyncio.Event()
        self.start_problems: list[Exception] = []
        self.meet_problems: list[Exception] = []

    def start(self, _: GatewaySettings | None = None) -> GatewayProcess:
        """Start a process, or fail as told."""
        if self.started and self.start_problems:
            raise self.start_problems.pop(0)
        process = spawn(["sleep", "60"])
        self.started.append(process)
        ours, theirs = socket.socketpair()
        ours.close()
        theirs.close()
        return GatewayProcess(process, ours, theirs)

    async def meet(self, _: GatewayProcess) -> None:
        if len(self.started) > 1 and self.meet_problems:
            raise self.meet_problems.pop(0)
        self.told.append("meet")

    async def watch(self, _: GatewayProcess) -> str:
        await self.useless.wait()
        self.useless.clear()
        return "it is of no use"

    async def part(self) -> None:
        self.told.append("part")

    async def served(self, count: int) -> None:
        """Wait until so many have been met."""
        async with asyncio.timeout(5):
            while self.told.count("meet") < count:  # noqa: ASYNC110 - looks at processes
                await asyncio.sleep(0.005)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RESTART_PAUSE", "MAX_RESTART_PAUSE", "MAX_START_PAUSE"):
        monkeypatch.setattr(module, name, 0.01)


def kept(scene: Callable[[World, GatewayKeeper], object]) -> World:
    """Play *scene* with a keeper that runs; everything is ended after it."""

    async def main() -> World:
        world = World()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "start_gateway", world.start)
            keeper = GatewayKeeper(
                GatewaySettings({}),
                world.start(),
                meet=world.meet,
                watch=world.watch,
                part=world.part,
            )
            try:
                await keeper.start()
                await scene(world, keeper)  # type: ignore[misc]
            finally:
                await keeper.stop()
                await keeper.stop()
        assert all(process.returncode is not None for process in world.started)
        return world

    return run(main())


def test_one_that_ends_is_followed_by_another() -> None:
    async def scene(world: World, _: GatewayKeeper) -> None:
        for number in range(3):
            world.started[-1].kill()
            await world.served(number + 2)

    world = kept(scene)
    assert len(world.started) == 4
    assert world.told[:-1] == ["meet", "part"] * 4


def test_one_that_is_of_no_use_is_killed(caplog: pytest.LogCaptureFixture) -> None:
    async def scene(world: World, _: GatewayKeeper) -> None:
        world.useless.set()
        await world.served(2)

    assert kept(scene).started[0].returncode == -9
    assert "the gateway is replaced: it is of no use" in caplog.text


@pytest.mark.parametrize(
    ("start", "meet"),
    [
        pytest.param([OSError("no process left")] * 3, [], id="it cannot be started"),
        pytest.param([], [EnforcementError("no")] * 3, id="it does not come up"),
        pytest.param([], [KeyError("digest")] * 2, id="it says something else"),
    ],
)
def test_it_is_tried_until_one_serves(
    start: list[Exception], meet: list[Exception]
) -> None:
    async def scene(world: World, _: GatewayKeeper) -> None:
        world.start_problems, world.meet_problems = start[:], meet[:]
        world.started[-1].kill()
        await world.served(2)

    assert len(kept(scene).started) == 2 + len(meet)


def test_the_first_has_to_come_up() -> None:
    async def main() -> None:
        world = World()

        async def refuse(_: GatewayProcess) -> None:
            raise EnforcementError("it does not come up")

        keeper = GatewayKeeper(
            GatewaySettings({}),
            world.start(),
            meet=refuse,
            watch=world.watch,
            part=world.part,
        )
        with pytest.raises(EnforcementError, match="come up"):
            await keeper.start()
        await keeper.stop()
        assert world.started[0].returncode == -9

    run(main())


def test_pauses_grow_and_begin_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as they are for what serves, and longer for what does not come up."""
    monkeypatch.setattr(module, "RESTART_PAUSE", 0.05)
    monkeypatch.setattr(module, "MAX_RESTART_PAUSE", 0.4)
    monkeypatch.setattr(module, "MAX_START_PAUSE", 5.0)
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    async def main() -> None:
        world = World()
        keeper = GatewayKeeper(
            GatewaySettings({}), world.start(),
            meet=world.meet, watch=world.watch, part=world.part,
        )  # fmt: skip
        monkeypatch.setattr(asyncio, "sleep", sleep)
        for _ in range(6):
            await keeper._rest(serves=True, lasted=0.1)
        for _ in range(5):
            await keeper._rest(serves=False, lasted=0.1)
        await keeper._rest(serves=True, lasted=60)
        monkeypatch.undo()
        await keeper.stop()

    run(main())
    assert slept[:6] == [0.05, 0.1, 0.2, 0.4, 0.4, 0.4]
    assert slept[6:11] == [0.4, 0.8, 1.6, 3.2, 5.0]
    assert slept[11] == 0.05
