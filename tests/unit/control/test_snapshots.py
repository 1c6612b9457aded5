"""Disk snapshots, what starts from them, and what a restart makes of everything."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from stockade.control.states import TERMINAL, Status
from stockade.control.store.pages import PageQuery
from stockade.errors import Conflict, InvalidRequest, NotFound, Unavailable
from stockade.hosting import SnapshotId, Stream
from tests.unit.control.devbox_world import Clock, World, open_world
from tests.unit.control.fake_host import FakeHost

Scene = Callable[[World], Awaitable[None]]


@pytest.fixture
def play(database_url: str, tmp_path: Path) -> Callable[[Scene], None]:
    def run(scene: Scene) -> None:
        async def main() -> None:
            async with open_world(database_url, tmp_path) as world:
                await scene(world)

        asyncio.run(main())

    return run


async def snapshot_of(world: World, box: Any, **body: Any) -> str:
    new = await world.plane.snapshots.create(box, body)
    return (await world.plane.snapshots.complete(world.account, new)).id


def test_clones_begin_alike_and_go_apart(play: Any) -> None:
    async def scene(world: World) -> None:
        box = await world.create()
        await world.run(box, "echo saved >file")
        body = {"name": "n", "commit_message": "m", "metadata": {"a": "b"}}
        new = await snapshot_of(world, box, **body)
        found = await world.plane.snapshots.get(world.account, new)
        assert (found.name, found.commit_message) == ("n", "m")
        assert (found.metadata, found.size, found.status) == (
            {"a": "b"},
            4096,
            "complete",
        )
        await world.run(box, "echo later >file")
        clones = [await world.create(snapshot_id=new) for _ in range(2)]
        await world.run(clones[0], "echo own >>file")
        texts = [(world.host.disk(one.id) / "file").read_text() for one in clones]
        assert texts == ["saved\nown\n", "saved\n"]
        assert clones[0].snapshot_id == new

    play(scene)


def test_restoring_never_widens(play: Any) -> None:
    async def scene(world: World) -> None:
        policy = await world.policies.create(world.account, {"name": "p"})
        other = await world.policies.create(world.account, {"name": "q"})
        box = await world.create(launch_parameters={"network_policy_id": policy})
        new = await snapshot_of(world, box)
        clone = await world.create(snapshot_id=new)
        assert world.host.pushes[clone.id].policy_id == policy
        named = {"network_policy_id": other}
        clone2 = await world.create(snapshot_id=new, launch_parameters=named)
        assert world.host.pushes[clone2.id].policy_id == other
        for one in (box, clone):
            await world.plane.devboxes.shutdown(world.account, one.id)
        # A snapshot does not keep its policy.
        await world.policies.delete(world.account, policy)
        with pytest.raises(InvalidRequest, match="name one"):
            await world.plane.devboxes.create(world.account, {"snapshot_id": new})
        assert (await world.create(snapshot_id=new, launch_parameters=named)).id

    play(scene)


def test_a_deleted_snapshot_says_so_and_is_no_source(play: Any) -> None:
    async def scene(world: World) -> None:
        box = await world.create()
        snapshots = world.plane.snapshots
        new = await snapshot_of(world, box)
        await snapshots.delete(world.account, new)
        await snapshots.delete(world.account, new)
        assert (await snapshots.get(world.account, new)).status == "deleted"
        assert (await snapshots.list(world.account, PageQuery())).items == ()
        assert await world.host.snapshots() == set()
        with pytest.raises(InvalidRequest, match="is deleted"):
            await world.plane.devboxes.create(world.account, {"snapshot_id": new})
        with pytest.raises(NotFound):
            await snapshots.update(world.account, new, {"name": "x"})
        with pytest.raises(NotFound):
            await snapshots.get(world.other, new)

    play(scene)


def test_a_copy_that_is_made_holds_the_devbox_unless_forced(play: Any) -> None:
    async def scene(world: World) -> None:
        box = await world.create()
        gate = world.host.gates["snapshot"] = asyncio.Event()
        snapshots, devboxes = world.plane.snapshots, world.plane.devboxes
        new = await snapshots.create(box, {})
        with pytest.raises(Conflict, match="being made"):
            await devboxes.shutdown(world.account, box.id)
        with pytest.raises(Conflict, match="in progress"):
            await snapshots.delete(world.account, new)
        with pytest.raises(InvalidRequest, match="in_progress"):
            await devboxes.create(world.account, {"snapshot_id": new})
        world.host.failures["snapshot"] = Unavailable("disk full")
        ended = await devboxes.shutdown(world.account, box.id, force=True)
        assert ended.status is Status.SHUTDOWN
        gate.set()
        with pytest.raises(Conflict, match="disk full"):
            await snapshots.complete(world.account, new)
        assert (await snapshots.get(world.account, new)).status == "error"

    play(scene)


def test_lists_and_changes(play: Any) -> None:
    async def scene(world: World) -> None:
        boxes = [await world.create(), await world.create()]
        made = [await snapshot_of(world, box, metadata={"k": "v"}) for box in boxes]
        snapshots = world.plane.snapshots
        page = await snapshots.list(world.account, PageQuery(), devbox=boxes[0].id)
        assert [one.id for one in page.items] == [made[0]]
        changed = {"metadata": {"k": "w"}, "name": "new"}
        await snapshots.update(world.account, made[1], changed)
        found = await snapshots.list(world.account, PageQuery(), metadata={"k": ["w"]})
        assert [(one.id, one.name) for one in found.items] == [(made[1], "new")]

    play(scene)


def test_what_a_killed_server_leaves_is_settled(
    database_url: str, tmp_path: Path
) -> None:
    async def main() -> None:
        clock = Clock()
        async with open_world(database_url, tmp_path, clock=clock) as world:
            policy = await world.policies.create(world.account, {"name": "p"})
            under = {"network_policy_id": policy}
            running = await world.create(launch_parameters=under)
            await world.run(running, "echo before", id="done")
            await world.plane.executions.start(
                running, "echo begun; sleep 60", id="open"
            )
            asleep = await world.create()
            await world.run(asleep, "echo kept >file")
            await world.plane.devboxes.suspend(world.account, asleep.id)
            await world.until(asleep.id, Status.SUSPENDED)
            world.host.gates["snapshot"] = asyncio.Event()
            copied = await world.plane.snapshots.create(running, {})
            stray = SnapshotId("snp_" + "0" * 21)
            (world.host.root / "snapshots" / stray).mkdir(parents=True)
            (world.host.root / "disks" / ("dbx_" + "0" * 21)).mkdir()
        async with open_world(
            database_url, tmp_path, FakeHost(tmp_path), clock
        ) as world:
            executions = world.plane.executions
            running = await world.until(running.id, *TERMINAL)
            assert running.failure_reason == "health_check_failed"
            lines = await world.plane.logs.of(running, None)
            assert any("the server was ended" in (line.message or "") for line in lines)
            done = await executions.records.get(running.id, "done")
            assert await executions.whole(done, Stream.STDOUT) == b"before\n"
            assert (await executions.records.get(running.id, "open")).exit_status == 137
            assert await world.host.disks() == {asleep.id}
            assert await world.host.snapshots() == set()
            found = await world.plane.snapshots.get(world.account, copied)
            assert found.status == "error"
            await world.policies.delete(world.account, policy)
            await world.plane.devboxes.resume(world.account, asleep.id)
            asleep = await world.until(asleep.id, Status.RUNNING)
            assert (world.host.disk(asleep.id) / "file").read_text() == "kept\n"

    asyncio.run(main())
