"""Commands: run once, watched to the end, their outputs kept."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from stockade.control.execution_records import KEPT
from stockade.errors import InvalidRequest, NotFound, Unavailable
from stockade.hosting import Stream
from tests.unit.control.devbox_world import World, open_world

Scene = Callable[[World], Awaitable[None]]


@pytest.fixture
def play(database_url: str, tmp_path: Path) -> Callable[[Scene], None]:
    def run(scene: Scene) -> None:
        async def main() -> None:
            async with open_world(database_url, tmp_path) as world:
                await scene(world)

        asyncio.run(main())

    return run


def test_outputs_and_status_are_kept_apart(play: Any) -> None:
    async def scene(world: World) -> None:
        box = await world.create()
        record = await world.run(box, "echo out; echo err >&2; exit 42")
        executions = world.plane.executions
        assert record.exit_status == 42
        assert await executions.whole(record, Stream.STDOUT) == b"out\n"
        assert await executions.whole(record, Stream.STDERR) == b"err\n"

    play(scene)


def test_the_same_id_is_the_same_execution(play: Any) -> None:
    async def scene(world: World) -> None:
        box = await world.create()
        start = world.plane.executions.start
        records = await asyncio.gather(
            *(start(box, "echo once >>file", id="id-1") for _ in range(5))
        )
        assert {record.id for record in records} == {"id-1"}
        await world.plane.executions.finish(records[0])
        await start(box, "echo once >>file", id="id-1")
        assert (world.host.disk(box.id) / "file").read_text() == "once\n"
        assert world.host.counts["echo once >>file"] == 1

    play(scene)


def test_outputs_outlive_the_devbox(play: Any) -> None:
    async def scene(world: World) -> None:
        box = await world.create()
        short = await world.run(box, "echo early")
        long = await world.run(
            box, f"head -c {KEPT + 10} /dev/zero | tr '\\0' x; echo end"
        )
        running = await world.plane.executions.start(box, "echo begun; sleep 60")
        await asyncio.sleep(0.2)
        await world.plane.devboxes.shutdown(world.account, box.id)
        executions = world.plane.executions
        running = await executions.finish(running)
        assert running.exit_status == 137
        assert await executions.whole(running, Stream.STDOUT) == b"begun\n"
        assert await executions.whole(short, Stream.STDOUT) == b"early\n"
        kept = await executions.whole(long, Stream.STDOUT)
        assert long.stdout_size == KEPT + 14
        assert len(kept) == KEPT
        assert kept.endswith(b"xend\n")

    play(scene)


def test_outputs_are_followed_from_anywhere(play: Any) -> None:
    async def scene(world: World) -> None:
        box = await world.create()
        executions = world.plane.executions
        record = await executions.start(box, "echo one; sleep .2; echo two")

        async def all_from(offset: int) -> bytes:
            found = executions.follow(record, Stream.STDOUT, offset)
            return b"".join([data async for data in found])

        both = await asyncio.gather(all_from(0), all_from(4))
        assert list(both) == [b"one\ntwo\n", b"two\n"]
        record = await executions.finish(record)
        assert [await all_from(at) for at in (0, 2, 8, 99)] == [
            b"one\ntwo\n",
            b"e\ntwo\n",
            b"",
            b"",
        ]

    play(scene)


def test_input_its_end_and_signals(play: Any) -> None:
    async def scene(world: World) -> None:
        box = await world.create()
        executions = world.plane.executions
        cat = await executions.start(box, "cat", attach_stdin=True)
        await executions.send_input(cat, b"one ")
        await executions.send_input(cat, "zwei €".encode())
        await executions.send_input(cat, None)
        cat = await executions.finish(cat)
        assert await executions.whole(cat, Stream.STDOUT) == "one zwei €".encode()
        with pytest.raises(InvalidRequest, match="has ended"):
            await executions.send_input(cat, b"more")
        without = await executions.start(box, "cat; sleep 60")
        with pytest.raises(InvalidRequest, match="no standard input"):
            await executions.send_input(without, b"x")
        without = await executions.kill(without, group=True)
        assert without.exit_status == 137
        trap = await executions.start(
            box, "trap 'echo hit; exit 5' INT; echo up; sleep 60"
        )
        await anext(executions.follow(trap, Stream.STDOUT, 0))
        await executions.interrupt(trap)
        assert (await executions.finish(trap)).exit_status == 5

    play(scene)


@pytest.mark.parametrize(
    ("command", "name", "message"),
    [
        ("", None, "command"),
        ("a\0b", None, "command"),
        ("ls", "../x", "command_id"),
        ("ls", "i" * 65, "command_id"),
    ],
)
def test_what_is_no_command_is_refused(
    play: Any, command: str, name: str | None, message: str
) -> None:
    async def scene(world: World) -> None:
        box = await world.create()
        with pytest.raises(InvalidRequest, match=message):
            await world.plane.executions.start(box, command, id=name)

    play(scene)


def test_a_command_that_cannot_start_does_not_hang(play: Any) -> None:
    async def scene(world: World) -> None:
        box = await world.create()
        world.host.failures["execute"] = Unavailable("no more processes")
        with pytest.raises(Unavailable):
            await world.plane.executions.start(box, "ls", id="e1")
        record = await world.plane.executions.records.get(box.id, "e1")
        assert record.exit_status == 137
        world.host.failures["execute"] = NotFound("gone")
        with pytest.raises(InvalidRequest, match="not running"):
            await world.plane.executions.start(box, "ls", id="e2")

    play(scene)


def test_logs_have_what_was_run_and_printed(play: Any) -> None:
    async def scene(world: World) -> None:
        box = await world.create(launch_parameters={"launch_commands": ["echo launch"]})
        record = await world.run(box, "echo line1; echo line2 >&2; exit 3")
        lines = await world.plane.logs.of(box, record.id)
        assert [line.message for line in lines if line.message] == ["line1", "line2"]
        assert lines[0].command is not None
        assert lines[-1].exit_code == 3
        whole = await world.plane.logs.of(box, None)
        assert {line.source for line in whole} == {"setup_commands", "exec"}
        assert "launch" in [line.message for line in whole]
        assert await world.plane.logs.of(box, "unknown") == []

    play(scene)
