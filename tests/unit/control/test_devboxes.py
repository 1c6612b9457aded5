"""The life of devboxes: what runs when, under which policy, and how it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from stockade.control.states import TERMINAL, Status
from stockade.control.store.pages import PageQuery
from stockade.control.usage import usage_of
from stockade.errors import (
    EnforcementError,
    HoldElapsed,
    InvalidRequest,
    NotFound,
    Unavailable,
)
from stockade.hosting import EndCause, Stream
from tests.unit.control.devbox_world import World, open_world

Scene = Callable[[World], Awaitable[None]]
IDLE = {"idle_time_seconds": 60, "on_idle": "suspend"}


@pytest.fixture
def play(database_url: str, tmp_path: Path) -> Callable[[Scene], None]:
    def run(scene: Scene) -> None:
        async def main() -> None:
            async with open_world(database_url, tmp_path) as world:
                await scene(world)

        asyncio.run(main())

    return run


async def output(world: World, devbox: Any, command: str) -> str:
    record = await world.run(devbox, command)
    return (await world.plane.executions.whole(record, Stream.STDOUT)).decode()


def test_a_devbox_is_started_in_order(play: Any) -> None:
    async def scene(world: World) -> None:
        world.secrets.known["db"] = "s3cret"
        world.objects.known["obj_1"] = ("binary", b"object")
        box = await world.create(
            name="one",
            environment_variables={"A": "b"},
            secrets={"DB": "db"},
            metadata={"team": "x"},
            mounts=[
                {"type": "file_mount", "target": "/in/file", "content": "mounted"},
                {"type": "object_mount", "object_id": "obj_1", "object_path": "/o"},
            ],
            launch_parameters={"launch_commands": ["cat in/file o >up; echo $DB >>up"]},
        )
        assert box.status is Status.RUNNING
        passed = [transition.status.value for transition in box.transitions]
        assert passed == ["provisioning", "initializing", "running"]
        assert await output(world, box, "cat up; echo $A") == "mountedobjects3cret\nb\n"
        assert (box.name, box.metadata) == ("one", {"team": "x"})
        # Secrets are kept by name.
        assert "s3cret" not in repr(box)

    play(scene)


def test_launch_commands_run_before_running_and_again_after_resume(play: Any) -> None:
    async def scene(world: World) -> None:
        devboxes = world.plane.devboxes
        body = {
            "launch_parameters": {
                "launch_commands": [
                    "until [ -e go ]; do sleep .02; done; echo x >>runs"
                ]
            }
        }
        new = await devboxes.create(world.account, body)
        with pytest.raises(HoldElapsed):
            await devboxes.wait(world.account, new, {Status.RUNNING}, 0.3)
        assert (await devboxes.get(world.account, new)).status is Status.INITIALIZING
        (world.host.disk(new) / "go").touch()
        box = await world.until(new, Status.RUNNING)
        assert (await devboxes.suspend(world.account, new)).status is Status.SUSPENDING
        await world.until(new, Status.SUSPENDED)
        assert (await devboxes.resume(world.account, new)).status is Status.PROVISIONING
        box = await world.until(new, Status.RUNNING)
        assert await output(world, box, "cat runs") == "x\nx\n"

    play(scene)


def test_a_launch_command_that_fails_is_a_failure_that_says_so(play: Any) -> None:
    async def scene(world: World) -> None:
        commands = ["echo broken >&2; exit 3"]
        box = await world.create(launch_parameters={"launch_commands": commands})
        assert (box.status, box.failure_reason) == (Status.FAILURE, "execution_failed")
        assert box.transitions[-1].failure == "execution_failed"
        lines = await world.plane.logs.of(box, None)
        told = [line.message or "" for line in lines if line.level == "error"]
        assert any("status 3: broken" in message for message in told)
        assert await world.host.disks() == set()

    play(scene)


@pytest.mark.parametrize(
    "error", [EnforcementError("unproven"), Unavailable("full"), InvalidRequest("bad")]
)
def test_what_cannot_start_fails_and_leaves_nothing(play: Any, error: Any) -> None:
    async def scene(world: World) -> None:
        world.host.failures["start"] = error
        box = await world.create()
        assert box.status is Status.FAILURE
        async with asyncio.timeout(10):
            await world.host.asked("destroy", box.id)

    play(scene)


def test_a_full_host_at_resume_costs_no_disk(play: Any) -> None:
    async def scene(world: World) -> None:
        box = await world.create()
        await world.run(box, "echo kept >file")
        await world.plane.devboxes.suspend(world.account, box.id)
        await world.until(box.id, Status.SUSPENDED)
        world.host.failures["start"] = Unavailable("full")
        await world.plane.devboxes.resume(world.account, box.id)
        await world.until(box.id, Status.SUSPENDED)
        del world.host.failures["start"]
        await world.plane.devboxes.resume(world.account, box.id)
        box = await world.until(box.id, Status.RUNNING)
        assert await output(world, box, "cat file") == "kept\n"

    play(scene)


def test_the_policy_is_used_as_long_as_the_devbox_lives(play: Any) -> None:
    async def scene(world: World) -> None:
        policy = await world.policies.create(world.account, {"name": "p"})
        box = await world.create(launch_parameters={"network_policy_id": policy})
        assert box.launch["network_policy_id"] == policy
        assert world.host.pushes[box.id].policy_id == policy
        for step in ("", "suspend"):
            if step:
                await world.plane.devboxes.suspend(world.account, box.id)
                await world.until(box.id, Status.SUSPENDED)
            with pytest.raises(InvalidRequest, match=box.id):
                await world.policies.delete(world.account, policy)
        await world.plane.devboxes.shutdown(world.account, box.id)
        await world.policies.delete(world.account, policy)

    play(scene)


def test_a_change_while_a_devbox_starts_is_not_lost(play: Any) -> None:
    async def scene(world: World) -> None:
        policy = await world.policies.create(world.account, {"name": "p"})
        gate = world.host.gates["start"] = asyncio.Event()
        body = {"launch_parameters": {"network_policy_id": policy}}
        new = await world.plane.devboxes.create(world.account, body)
        await world.host.asked("start", new)
        # The host was given generation 1 and is not done with it.
        fields = {"allowed_hostnames": ["a.test"]}
        await world.policies.update(world.account, policy, fields)
        gate.set()
        box = await world.until(new, Status.RUNNING)
        assert world.host.pushes[box.id].generation == 2

    play(scene)


def test_an_update_while_suspended_is_in_force_after_resume(play: Any) -> None:
    async def scene(world: World) -> None:
        policy = await world.policies.create(world.account, {"name": "p"})
        box = await world.create(launch_parameters={"network_policy_id": policy})
        await world.plane.devboxes.suspend(world.account, box.id)
        await world.until(box.id, Status.SUSPENDED)
        before = world.host.calls.count(("update_policy", policy))
        await world.policies.update(world.account, policy, {"description": "d"})
        assert world.host.calls.count(("update_policy", policy)) == before
        await world.plane.devboxes.resume(world.account, box.id)
        await world.until(box.id, Status.RUNNING)
        assert world.host.pushes[box.id].generation == 2

    play(scene)


@pytest.mark.parametrize("policy", ["npol_" + "0" * 21, "npol_x", ""])
def test_a_policy_that_is_not_there_is_refused(play: Any, policy: str) -> None:
    async def scene(world: World) -> None:
        body = {"launch_parameters": {"network_policy_id": policy}}
        with pytest.raises(InvalidRequest):
            await world.plane.devboxes.create(world.account, body)
        assert world.host.calls == []
        page = await world.plane.devboxes.records.list(world.account, PageQuery())
        assert page.items == ()

    play(scene)


def test_another_account_sees_nothing(play: Any) -> None:
    async def scene(world: World) -> None:
        policy = await world.policies.create(world.other, {"name": "p"})
        body = {"launch_parameters": {"network_policy_id": policy}}
        with pytest.raises(InvalidRequest, match="no network policy"):
            await world.plane.devboxes.create(world.account, body)
        box = await world.create()
        devboxes = world.plane.devboxes
        for deed in (
            devboxes.get,
            devboxes.suspend,
            devboxes.resume,
            devboxes.shutdown,
        ):
            with pytest.raises(NotFound):
                await deed(world.other, box.id)
        assert (await devboxes.records.list(world.other, PageQuery())).items == ()
        assert (await devboxes.get(world.account, box.id)).status is Status.RUNNING

    play(scene)


def test_shutdown_is_at_once_from_everywhere_and_again(play: Any) -> None:
    async def scene(world: World) -> None:
        devboxes = world.plane.devboxes
        gate = world.host.gates["start"] = asyncio.Event()
        new = await devboxes.create(world.account, {})
        asyncio.get_running_loop().call_later(0.2, gate.set)
        ended = await devboxes.shutdown(world.account, new)
        assert (ended.status, ended.shutdown_reason) == (
            Status.SHUTDOWN,
            "api_shutdown",
        )
        again = await devboxes.shutdown(world.account, new)
        assert again == ended
        assert ended.ended_ms is not None
        assert await world.host.disks() == set()
        assert await world.host.running() == set()

    play(scene)


def test_the_entrypoint_ends_the_devbox(play: Any) -> None:
    async def scene(world: World) -> None:
        entry = "until [ -e stop ]; do sleep .02; done"
        box = await world.create(entrypoint=entry)
        await world.plane.devboxes.suspend(world.account, box.id)
        await world.until(box.id, Status.SUSPENDED)  # Which is not the end of it.
        await world.plane.devboxes.resume(world.account, box.id)
        await world.until(box.id, Status.RUNNING)
        (world.host.disk(box.id) / "stop").touch()
        box = await world.until(box.id, *TERMINAL)
        assert (box.status, box.shutdown_reason) == (Status.SHUTDOWN, "entrypoint_exit")

    play(scene)


def test_time_runs_out(play: Any) -> None:
    async def scene(world: World) -> None:
        kept = await world.create(launch_parameters={"keep_alive_time_seconds": 100})
        idle = await world.create(launch_parameters={"after_idle": IDLE})
        world.clock.advance(50)
        await world.plane.devboxes.keep_alive(world.account, idle.id)
        await world.plane.devboxes.keep_alive(world.account, kept.id)
        world.clock.advance(40)
        await world.plane.timers.tick()
        assert (await world.until(idle.id, Status.RUNNING)).id == idle.id
        world.clock.advance(30)
        await world.plane.timers.tick()
        await world.until(idle.id, Status.SUSPENDED)
        kept = await world.until(kept.id, *TERMINAL)
        assert kept.shutdown_reason == "keep_alive_timeout"

    play(scene)


def test_a_long_command_is_no_idleness(play: Any) -> None:
    async def scene(world: World) -> None:
        rule = {"idle_time_seconds": 60, "on_idle": "shutdown"}
        box = await world.create(launch_parameters={"lifecycle": {"after_idle": rule}})
        record = await world.plane.executions.start(box, "sleep 60")
        world.clock.advance(61)
        await world.plane.timers.tick()
        await world.plane.executions.kill(record, group=True)
        world.clock.advance(59)
        await world.plane.timers.tick()
        assert (
            await world.plane.devboxes.get(world.account, box.id)
        ).status == "running"
        world.clock.advance(2)
        await world.plane.timers.tick()
        box = await world.until(box.id, *TERMINAL)
        assert (box.status, box.shutdown_reason) == (Status.SHUTDOWN, "idle")

    play(scene)


def test_hooks_run_before_suspend_and_cannot_prevent_it(play: Any) -> None:
    async def scene(world: World) -> None:
        hooks = {
            "suspend_commands": ["echo hook >hook", "exit 4", "sleep 60"],
            "suspend_deadline_ms": 300,
        }
        box = await world.create(
            launch_parameters={"lifecycle": {"lifecycle_hooks": hooks}}
        )
        await world.plane.devboxes.suspend(world.account, box.id)
        await world.until(box.id, Status.SUSPENDED)
        assert (world.host.disk(box.id) / "hook").read_text() == "hook\n"
        lines = await world.plane.logs.of(box, None)
        assert any("not done after 0.3 s" in (line.message or "") for line in lines)

    play(scene)


@pytest.mark.parametrize("cause", list(EndCause))
def test_a_devbox_that_ends_by_itself_says_why(play: Any, cause: EndCause) -> None:
    async def scene(world: World) -> None:
        box = await world.create()
        await world.host.end(box.id, cause)
        box = await world.until(box.id, *TERMINAL)
        assert box.status is Status.FAILURE
        assert box.failure_reason is not None

    play(scene)


def test_only_what_runs_is_operated_on(play: Any) -> None:
    async def scene(world: World) -> None:
        devboxes = world.plane.devboxes
        box = await world.create()
        with pytest.raises(InvalidRequest, match="not suspended"):
            await devboxes.resume(world.account, box.id)
        await devboxes.suspend(world.account, box.id)
        for deed in (devboxes.suspend, devboxes.keep_alive):
            with pytest.raises(InvalidRequest, match="not running"):
                await deed(world.account, box.id)
        with pytest.raises(InvalidRequest, match="not an id"):
            await devboxes.get(world.account, "dbx_nonexistent12345")

    play(scene)


def test_names_metadata_and_lists(play: Any) -> None:
    async def scene(world: World) -> None:
        devboxes = world.plane.devboxes
        boxes = [await world.create(metadata={"n": str(n)}) for n in range(3)]
        page = await devboxes.records.list(world.account, PageQuery(limit=2))
        assert [one.id for one in page.items] == [boxes[2].id, boxes[1].id]
        assert (page.has_more, page.total) == (True, 3)
        found = await devboxes.records.list(
            world.account, PageQuery(), Status.RUNNING, {"n": ["0", "2"]}
        )
        assert [one.id for one in found.items] == [boxes[2].id, boxes[0].id]
        changed = {"name": "new", "metadata": {}}
        box = await devboxes.update(world.account, boxes[0].id, changed)
        assert (box.name, box.metadata) == ("new", {})
        box = await devboxes.update(world.account, boxes[0].id, {"name": ""})
        assert box.name is None

    play(scene)


def test_usage_counts_what_was_used(play: Any) -> None:
    async def scene(world: World) -> None:
        box = await world.create(launch_parameters={"resource_size_request": "LARGE"})
        world.clock.advance(100)
        await world.plane.devboxes.suspend(world.account, box.id)
        box = await world.until(box.id, Status.SUSPENDED)
        usage = usage_of(box, box.transitions[-1].at_ms + 50_000)
        assert int(usage.active_seconds) == 100
        assert int(usage.elapsed_seconds) == 150
        assert int(usage.vcpu_seconds) == 200
        assert int(usage.memory_gb_seconds) in range(800, 802)
        assert int(usage.disk_gb_seconds) in range(2400, 2403)

    play(scene)
