"""The official client, checking every shape strictly, against devboxes on a fake host."""

from __future__ import annotations

import asyncio
import gc
import io
import time
import warnings
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import runloop_api_client as runloop
from runloop_api_client import AsyncRunloopSDK
from runloop_api_client.lib.polling import PollingConfig

from tests.unit.api.devbox_api import DevboxApi, open_devbox_api
from tests.unit.control.devbox_world import KEY

Scene = Callable[[DevboxApi], Awaitable[None]]


@pytest.fixture
def play(tmp_path: Path) -> Callable[[Scene], None]:
    def run(scene: Scene) -> None:
        async def main() -> None:
            async with open_devbox_api(tmp_path) as api:
                await scene(api)

        asyncio.run(main())
        # The official client leaves sockets of its pools open: not for later tests.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()

    return run


def test_the_life_of_a_devbox(play: Any) -> None:
    async def scene(api: DevboxApi) -> None:
        boxes = api.sdk.devboxes
        policy = await api.sdk.network_policies.create(name="p")
        box = await boxes.create_and_await_running(
            name="one", launch_parameters={"network_policy_id": policy.id}
        )
        assert box.status == "running"
        assert box.launch_parameters.network_policy_id == policy.id
        await boxes.suspend(box.id)
        await boxes.await_suspended(box.id)
        resumed = await boxes.resume(box.id)
        assert resumed.status in ("provisioning", "running")
        assert (await boxes.await_running(box.id)).status == "running"
        assert await boxes.keep_alive(box.id) is not None
        changed = await boxes.update(box.id, name="", metadata={"a": "b"})
        assert (changed.name, changed.metadata) == (None, {"a": "b"})
        found = [one.id async for one in boxes.list(limit=1, status="running")]
        assert found == [box.id]
        with pytest.raises(runloop.BadRequestError, match=box.id):
            await api.sdk.network_policies.delete(policy.id)
        ended = await boxes.shutdown(box.id)
        assert (ended.status, ended.shutdown_reason) == ("shutdown", "api_shutdown")
        await api.sdk.network_policies.delete(policy.id)
        usage = await boxes.retrieve_resource_usage(box.id)
        assert usage.total_elapsed_seconds >= 0
        assert (await boxes.logs.list(box.id)).logs == []

    play(scene)


def test_waiting_holds_and_then_says_not_yet(play: Any) -> None:
    async def scene(api: DevboxApi) -> None:
        box = await api.sdk.devboxes.create(
            launch_parameters={"launch_commands": ["sleep 1"]}
        )
        path = f"/v1/devboxes/{box.id}/wait_for_status"
        started = time.monotonic()
        answer = await api.http.post(
            path, json={"statuses": ["running"], "timeout_seconds": 0.09}
        )
        assert 0.08 < time.monotonic() - started < 0.6
        assert answer.status_code == 408
        box = await api.sdk.devboxes.await_running(
            box.id, polling_config=PollingConfig(interval_seconds=0.1, max_attempts=100)
        )
        assert box.status == "running"
        bodies: list[dict[str, list[str]]] = [
            {"statuses": []},
            {"statuses": ["up"]},
            {},
        ]
        for body in bodies:
            assert (await api.http.post(path, json=body)).status_code == 400

    play(scene)


def test_a_request_that_is_sent_again_makes_one_devbox(play: Any) -> None:
    async def scene(api: DevboxApi) -> None:
        create = api.sdk.devboxes.create_and_await_running
        boxes = await asyncio.gather(*(create(idempotency_key="k") for _ in range(4)))
        assert len({box.id for box in boxes}) == 1
        listed = await api.sdk.devboxes.list()
        assert listed.total_count == 1

    play(scene)


def test_commands_through_the_documented_objects(play: Any) -> None:
    async def scene(api: DevboxApi) -> None:
        sdk = AsyncRunloopSDK(base_url=api.url, bearer_token=KEY)
        box = await sdk.devbox.create()
        result = await box.cmd.exec("echo out; echo err >&2; exit 42")
        assert (result.exit_code, result.success) == (42, False)
        assert await result.stdout() == "out\n"
        assert await result.stderr() == "err\n"
        # Its last hundred lines are in the answer; the rest comes by the stream.
        many = await box.cmd.exec("printf '%s\\n' {1..1000}")
        expected = "".join(f"{n}\n" for n in range(1, 1001))
        assert await many.stdout() == expected
        seen: list[str] = []
        result = await box.cmd.exec(
            "for n in 1 2 3; do echo é$n; sleep .1; done", stdout=seen.append
        )
        assert "".join(seen).replace("\n", "") == "é1é2é3"
        assert await result.stdout() == "é1\né2\né3\n"
        going = await box.cmd.exec_async("sleep 60")
        await going.kill()
        assert (await going.result()).exit_code == 137
        await box.file.write(file_path="~/a/b.txt", contents="text €")
        assert await box.file.read(file_path="a/b.txt") == "text €"
        await box.shutdown()
        await sdk.aclose()

    play(scene)


def test_raw_executions(play: Any) -> None:
    async def scene(api: DevboxApi) -> None:
        box = (await api.sdk.devboxes.create_and_await_running()).id
        boxes = api.sdk.devboxes
        done = await boxes.execute(
            box, command="printf '%s\\n' 1 2 3 4 5", command_id="c1", last_n="3"
        )
        assert (done.status, done.stdout, done.stdout_truncated) == (
            "completed",
            "3\n4\n5\n",
            True,
        )
        again = await boxes.execute(box, command="printf nothing", command_id="c1")
        assert (again.stdout, again.stdout_truncated) == ("1\n2\n3\n4\n5\n", False)
        late = await boxes.execute(
            box, command="sleep 1; echo x", command_id="c2", optimistic_timeout=0
        )
        assert (late.status, late.stdout, late.exit_status) == ("running", None, None)
        answer = await api.http.post(
            f"/v1/devboxes/{box}/executions/c2/wait_for_status",
            json={"statuses": ["completed"], "timeout_seconds": 0.1},
        )
        assert answer.status_code == 408
        assert answer.headers["x-should-retry"] == "true"
        assert answer.headers["retry-after-ms"] == "50"
        late = await boxes.wait_for_command("c2", devbox_id=box, statuses=["completed"])
        assert late.stdout == "x\n"
        cat = await boxes.execute_async(box, command="cat", attach_stdin=True)
        inputs = boxes.executions.send_std_in
        for text in ("one\n", "two"):
            sent = await inputs(cat.execution_id, devbox_id=box, text=text)
            assert sent.success
        await inputs(cat.execution_id, devbox_id=box, signal="EOF")
        stream = await boxes.executions.stream_stdout_updates(
            cat.execution_id, devbox_id=box
        )
        chunks = [chunk async for chunk in stream]
        assert "".join(chunk.output for chunk in chunks) == "one\ntwo"
        assert chunks[-1].offset == 7
        with pytest.raises(runloop.BadRequestError):
            await inputs(cat.execution_id, devbox_id=box)
        with pytest.raises(runloop.NotFoundError):
            await boxes.executions.retrieve("unknown", devbox_id=box)
        with pytest.deprecated_call():
            sync = await boxes.execute_sync(box, command="echo a; echo b >&2; exit 3")
        assert (sync.stdout, sync.stderr, sync.exit_status) == ("a\n", "b\n", 3)

    play(scene)


def test_a_stream_goes_on_where_it_was_left(play: Any) -> None:
    async def scene(api: DevboxApi) -> None:
        box = (await api.sdk.devboxes.create_and_await_running()).id
        done = await api.sdk.devboxes.execute(
            box, command="printf 'é€😀end'", command_id="c"
        )
        path = f"/v1/devboxes/{box}/executions/c/stream_stdout_updates"
        assert done.stdout == "é€😀end"
        text = (await api.http.get(path, params={"offset": "5"})).text
        assert text == 'data: {"output": "\\ud83d\\ude00end", "offset": 12}\n\n'
        assert (await api.http.get(path, params={"offset": "12"})).text == ""
        assert (await api.http.get(path, params={"offset": "-1"})).status_code == 400

    play(scene)


def test_files_both_ways(play: Any) -> None:
    async def scene(api: DevboxApi) -> None:
        box = (await api.sdk.devboxes.create_and_await_running()).id
        boxes = api.sdk.devboxes
        content = bytes(range(256)) * 9_000
        file = ("upload", io.BytesIO(content))
        assert (
            await boxes.upload_file(box, path="deep/er/file.bin", file=file) is not None
        )
        downloaded = await boxes.download_file(box, path="~/deep/er/file.bin")
        assert await downloaded.read() == content
        with pytest.raises(runloop.NotFoundError):
            await boxes.read_file_contents(box, file_path="missing")
        with pytest.raises(runloop.BadRequestError):
            await boxes.read_file_contents(box, file_path="deep")
        upload = f"/v1/devboxes/{box}/upload_file"
        for form in (
            {"files": {"file": b"x"}},
            {"files": {"other": b"x"}, "data": {"path": "p"}},
            {"json": {"path": "p"}},
        ):
            answer = await api.http.post(upload, **form)
            assert answer.status_code == 400, answer.text

    play(scene)


def test_snapshots(play: Any) -> None:
    async def scene(api: DevboxApi) -> None:
        boxes = api.sdk.devboxes
        box = (await boxes.create_and_await_running()).id
        await boxes.write_file_contents(box, file_path="f", contents="saved")
        made = await boxes.snapshot_disk(box, name="n", metadata={"k": "v"})
        assert (made.name, made.source_devbox_id) == ("n", box)
        later = await boxes.snapshot_disk_async(box, commit_message="m")
        status = await boxes.disk_snapshots.await_completed(later.id)
        assert status.status == "complete"
        found = [one.id async for one in boxes.disk_snapshots.list(devbox_id=box)]
        assert found == [later.id, made.id]
        filtered = boxes.disk_snapshots.list(extra_query={"metadata[k]": "v"})
        assert [one.id async for one in filtered] == [made.id]
        clone = await boxes.create_and_await_running(snapshot_id=made.id)
        assert clone.snapshot_id == made.id
        assert await boxes.read_file_contents(clone.id, file_path="f") == "saved"
        await boxes.disk_snapshots.delete(made.id)
        gone = await boxes.disk_snapshots.query_status(made.id)
        assert gone.status == "deleted"

    play(scene)


def test_what_is_refused_is_refused_once_and_clearly(play: Any) -> None:
    async def scene(api: DevboxApi) -> None:
        boxes = api.sdk.devboxes
        box = (await boxes.create_and_await_running()).id
        for call in (
            boxes.enable_tunnel,
            boxes.create_ssh_key,
            boxes.create_pty_tunnel,
        ):
            with pytest.raises(runloop.InternalServerError, match="does not have"):
                await call(box)
        with pytest.raises(runloop.InternalServerError, match="tunnel"):
            await boxes.create(tunnel={"auth_mode": "open"})
        with pytest.raises(runloop.BadRequestError):
            await boxes.retrieve("dbx_nonexistent12345")
        with pytest.raises(runloop.NotFoundError):
            await boxes.retrieve("dbx_" + "0" * 21)
        other = api.sdk.with_options(bearer_token=api.world.other_key)
        for deed in (other.devboxes.retrieve, other.devboxes.shutdown):
            with pytest.raises(runloop.NotFoundError):
                await deed(box)
        with pytest.raises(runloop.NotFoundError):
            await other.devboxes.execute(box, command="id", command_id="c")
        assert (await boxes.retrieve(box)).status == "running"

    play(scene)
