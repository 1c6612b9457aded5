"""Commands in a devbox: how they start, end, are signalled, and read their input."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from pathlib import Path

import pytest

from stockade.agent.executions import Executions
from stockade.agent.means import Bounds
from stockade.errors import Conflict, InvalidRequest, NotFound, Unavailable
from stockade.hosting import BoxAccount, Execution, ExecutionId, Stream
from tests.e2e.inside_boxes import ROOT, Served, World, loops_fixture

pytestmark = pytest.mark.root
world = loops_fixture

KILLED = 128 + signal.SIGKILL


def test_a_command_runs_as_the_user_in_its_home(world: World) -> None:
    async def body(box: Served) -> None:
        script = "id; pwd; echo $HOME $USER; echo oops >&2; exit 42"
        status, out, err = await box.run("bash", "-lc", script)
        assert (status, err) == (42, "oops\n")
        assert out.splitlines() == [
            "uid=1000(user) gid=1000(user) groups=1000(user)",
            "/home/user",
            "/home/user user",
        ]

    world.go(body)


@pytest.mark.parametrize(
    ("account", "expected"),
    [
        (ROOT, "0 0 0 /root root"),
        (BoxAccount("games", 5), "5 60 20 60 / games"),
        (BoxAccount("new", 4321), "4321 4321 4321 / new"),
    ],
)
def test_other_users(world: World, account: BoxAccount, expected: str) -> None:
    async def body(box: Served) -> None:
        root = "usermod -aG 20 games"
        await box.shell(root, user=ROOT)
        script = "echo $(id -u) $(id -g) $(id -G | tr ' ' '\\n' | sort -n) $(pwd) $USER"
        assert await box.shell(script, user=account) == f"{expected}\n"

    world.go(body)


def test_a_user_cannot_become_another_by_what_the_image_says(world: World) -> None:
    async def body(box: Served) -> None:
        script = "sed -i 's/^user:x:1000:1000/user:x:0:0/' /etc/passwd"
        await box.shell(script, user=ROOT)
        assert await box.shell("id -u; id -g") == "1000\n1000\n"

    world.go(body)


def test_the_environment_is_images_then_devboxes_then_commands(world: World) -> None:
    async def body(box: Served) -> None:
        env = {"B": "command", "C": "command\nx"}
        assert await box.shell('echo $A $B $LANG; echo "$C"', env=env) == (
            "devbox command C.UTF-8\ncommand\nx\n"
        )

    world.go(body, env={"A": "devbox", "B": "devbox"}, user="user")


@pytest.mark.parametrize("kind", ["fifo", "zero", "directory", "large"])
def test_accounts_that_cannot_be_read_keep_nobody_out(world: World, kind: str) -> None:
    make = {
        "fifo": "mkfifo -m 666 /etc/passwd",
        "zero": "ln -s /dev/zero /etc/passwd",
        "directory": "mkdir /etc/passwd",
        "large": "truncate -s 1G /etc/passwd",
    }

    async def body(box: Served) -> None:
        await box.shell(f"rm /etc/passwd; {make[kind]}", user=ROOT)
        # Nothing that looks for names: inside, that is the devbox's own trouble.
        found = await box.run("stat", "-Lc", "%u:%g", "/proc/self")
        assert found == (0, "1000:1000\n", "")

    world.go(body)


@pytest.mark.parametrize(
    ("argv", "plan", "status", "message"),
    [
        (("nosuch",), {}, 127, "nosuch: no such program"),
        (("/nosuch",), {}, 127, "/nosuch: no such program"),
        (("/etc/passwd",), {}, 126, "/etc/passwd: "),
        (("/tmp",), {}, 126, "/tmp: "),
        (("true",), {"workdir": "/nosuch"}, 126, "cannot work in /nosuch: "),
        (("true",), {"workdir": "/etc/passwd"}, 126, "cannot work in /etc/passwd: "),
        (("echo", "x" * 131072), {}, 126, "longer than the kernel takes"),
        (("echo", "a\0b"), {}, 126, "NUL character"),
        (("echo", "\ud800"), {}, 126, "not UTF-8"),
        ((), {}, 126, "no program"),
    ],
)
def test_a_command_that_cannot_start_ends_and_says_so(
    world: World,
    argv: tuple[str, ...],
    plan: dict[str, str],
    status: int,
    message: str,
) -> None:
    async def body(box: Served) -> None:
        found = await box.run(*argv, **plan)
        assert found[:2] == (status, "")
        assert message in found[2]
        assert found[2].startswith("stockade: ")

    world.go(body)


def test_without_a_home_it_starts_at_the_root(world: World) -> None:
    async def body(box: Served) -> None:
        await box.shell("rm -r /home/user", user=ROOT)
        assert await box.shell("pwd") == "/\n"

    world.go(body)


def test_the_same_id_again_is_the_same_execution(world: World) -> None:
    async def body(box: Served) -> None:
        script = "echo once >> /tmp/count; sleep 0.3"
        both = (box.sh(script, id="same"), box.sh(script, id="same"))
        await asyncio.gather(*both)
        await box.sh(script, id="same")
        await box.finish(ExecutionId("same"))
        await box.sh(script, id="same")
        assert await box.shell("cat /tmp/count") == "once\n"

    world.go(body)


def test_ids_that_are_none_name_no_files(world: World) -> None:
    async def body(box: Served) -> None:
        with pytest.raises(InvalidRequest, match="not the id"):
            await box.start("true", id="../x")
        for name in ("../x", "unknown", ""):
            with pytest.raises(NotFound):
                await box.executions.execution(ExecutionId(name))

    world.go(body)


def test_statuses_of_signals_are_those_of_a_shell(world: World) -> None:
    async def body(box: Served) -> None:
        name = await box.start("sleep", "1000")
        await box.executions.signal(name, signal.SIGTERM, group=False)
        assert (await box.finish(name)).exit_status == 128 + signal.SIGTERM
        # It has ended: nothing to do, and nothing wrong.
        await box.executions.signal(name, signal.SIGTERM, group=True)
        name = await box.start("sleep", "1000")
        with pytest.raises(InvalidRequest, match="no signal 99"):
            await box.executions.signal(name, 99, group=False)

    world.go(body)


def test_a_group_is_killed_to_the_last_member(world: World) -> None:
    async def body(box: Served) -> None:
        script = (
            "for i in 1 2 3; do (while :; do sleep 0.01 & done) & done; echo up; wait"
        )
        name = await box.sh(script)
        await box.first(name)
        await asyncio.sleep(0.2)
        await box.executions.signal(name, signal.SIGKILL, group=True)
        assert (await box.finish(name)).exit_status == KILLED
        assert await box.shell("pgrep -c sleep -u user || true") == "0\n"

    world.go(body)


def test_an_interrupt_reaches_the_whole_group_and_nobody_else(world: World) -> None:
    async def body(box: Served) -> None:
        other = await box.start("sleep", "1000")
        name = await box.sh("trap 'echo int; exit 3' INT; echo up; sleep 1000 & wait")
        await box.first(name)
        await box.executions.signal(name, signal.SIGINT, group=True)
        assert (await box.finish(name)).exit_status == 3
        assert await box.output(name) == b"up\nint\n"
        assert (await box.executions.execution(other)).exit_status is None

    world.go(body)


def test_a_leader_that_went_to_another_group_is_found_there(world: World) -> None:
    async def body(box: Served) -> None:
        script = "import os, time; os.setsid(); print('up', flush=True); time.sleep(99)"
        name = await box.start("python3", "-c", script)
        await box.first(name)
        await box.executions.signal(name, signal.SIGKILL, group=True)
        assert (await box.finish(name)).exit_status == KILLED

    world.go(body)


def test_a_background_process_does_not_hold_the_end(world: World) -> None:
    async def body(box: Served) -> None:
        script = (
            "(sleep 0.3; echo soon; sleep 1.5; echo late; echo late > /tmp/alive) &"
            " echo now; exit 4"
        )
        started = time.monotonic()
        name = await box.sh(script)
        done = await box.finish(name)
        assert done == Execution(name, 4, 9, 0)
        assert 0.9 < time.monotonic() - started < 20
        # It lives on, and what it writes changes nothing.
        await asyncio.sleep(1.2)
        assert await box.shell("cat /tmp/alive") == "late\n"
        assert await box.executions.execution(name) == done
        assert await box.output(name) == b"now\nsoon\n"

    world.go(body)


def test_input_arrives_in_order_to_its_end(world: World) -> None:
    async def body(box: Served) -> None:
        name = await box.start("sha256sum", attach_stdin=True)
        pieces = [os.urandom(1 << 20) for _ in range(8)]
        sends = (box.executions.send_input(name, piece) for piece in pieces)
        await asyncio.gather(*sends)
        await box.executions.send_input(name, None)
        await box.executions.send_input(name, None)
        await box.finish(name)
        import hashlib

        wanted = hashlib.sha256(b"".join(pieces)).hexdigest()
        assert (await box.output(name)).decode().split()[0] == wanted
        with pytest.raises(Conflict, match="has ended"):
            await box.executions.send_input(name, b"x")

    world.go(body)


def test_input_waits_for_who_does_not_read_it(world: World) -> None:
    async def body(box: Served) -> None:
        name = await box.start("sleep", "1000", attach_stdin=True)
        send = asyncio.create_task(box.executions.send_input(name, bytes(1 << 20)))
        await asyncio.sleep(0.2)
        assert not send.done()
        send.cancel()
        await asyncio.wait({send})
        # The next waits, too, until the end tells it so.
        send = asyncio.create_task(box.executions.send_input(name, b"x"))
        await asyncio.sleep(0.1)
        await box.executions.signal(name, signal.SIGKILL, group=False)
        with pytest.raises(Conflict):
            await send

    world.go(body)


def test_input_that_was_not_attached_is_at_its_end(world: World) -> None:
    async def body(box: Served) -> None:
        assert await box.shell("cat; readlink /proc/self/fd/0") == "/dev/null\n"
        name = await box.start("sleep", "1000")
        with pytest.raises(Conflict, match="not attached"):
            await box.executions.send_input(name, b"x")

    world.go(body)


def test_a_wait_ends_in_time(world: World) -> None:
    async def body(box: Served) -> None:
        name = await box.start("sleep", "1000")
        started = time.monotonic()
        assert (await box.executions.wait(name, 0.2)).exit_status is None
        assert 0.15 < time.monotonic() - started < 10
        assert (await box.executions.wait(name, 0)).exit_status is None

    world.go(body)


def test_the_end_of_the_devbox_is_the_end_of_all(world: World) -> None:
    async def body(box: Served) -> tuple[Served, list[ExecutionId]]:
        names = [
            await box.sh("echo here; sleep 1000"),
            await box.sh("trap '' TERM; echo here; while :; do :; done"),
            await box.sh("echo here; sleep 1000 & exit 5"),
            await box.sh("echo here; setsid sleep 1000 & exit 5", attach_stdin=True),
        ]
        for name in names:
            await box.first(name)
        # Of two the process has ended, and something else holds the outputs.
        await asyncio.wait([box.child(name).ended for name in names[2:]])
        return box, names

    box, names = world.go(body)
    started = time.monotonic()

    async def after() -> None:
        # Also for who starts anew and knows nothing but the files.
        for executions in (box.executions, Executions(box.directory, box.means)):
            for name, status in zip(names, (KILLED, KILLED, 5, 5), strict=True):
                found = await executions.wait(name, 10)
                assert (found.exit_status, found.stdout_size) == (status, 5)
                source = executions.follow_output(name, Stream.STDOUT, 0)
                assert [data async for data in source] == [b"here\n"]
            with pytest.raises(Conflict, match="does not run"):
                await box.start("true", id="later")

    asyncio.run(after())
    assert time.monotonic() - started < 10


def test_what_was_running_when_the_server_was_killed_was_killed(
    world: World, tmp_path: Path
) -> None:
    async def body(box: Served) -> None:
        name = await box.sh("echo here; sleep 1000")
        await box.first(name)
        again = Executions(box.directory, box.means)
        assert await again.execution(name) == Execution(name, KILLED, 5, 0)
        await box.start("true", id=name)  # It is known, so it is not started again.

    world.go(body)


def test_too_many_commands_are_refused_and_lingering_ones_let_go(world: World) -> None:
    async def body(box: Served) -> None:
        for _ in range(2):
            await box.finish(await box.sh("sleep 1000 & exit 0"))
        names = [await box.start("sleep", "1000") for _ in range(3)]
        with pytest.raises(Unavailable, match="as many as may"):
            await box.start("true", id="refused")
        with pytest.raises(NotFound):
            await box.executions.execution(ExecutionId("refused"))
        await box.executions.signal(names[0], signal.SIGKILL, group=True)
        await box.finish(names[0])
        assert await box.shell("echo in") == "in\n"

    world.go(body, bounds=Bounds(running_in_devbox=3))


def test_who_gives_up_starting_leaves_nothing_behind(world: World) -> None:
    async def body(box: Served) -> None:
        tasks = [asyncio.create_task(box.sh("echo in", id=f"n{n}")) for n in range(5)]
        await asyncio.sleep(0.001)
        for task in tasks:
            task.cancel()
        for number in range(5):
            with contextlib.suppress(NotFound):
                done = await box.finish(ExecutionId(f"n{number}"))
                assert (done.exit_status, done.stdout_size) == (0, 3)

    world.go(body)


def test_who_waits_for_what_cannot_start_is_told(world: World) -> None:
    async def body(box: Served) -> None:
        for _ in range(4):
            await box.inside._turns.acquire()
        start = asyncio.create_task(box.start("true", id="late"))
        await asyncio.sleep(0.01)
        wait = asyncio.create_task(box.finish(ExecutionId("late")))
        follow = asyncio.create_task(box.output(ExecutionId("late")))
        await asyncio.sleep(0.01)
        close = asyncio.create_task(box.inside.close())
        await asyncio.sleep(0.01)
        box.inside._turns.release()
        await close
        with pytest.raises(Conflict):
            await start
        assert (await wait).exit_status == KILLED
        assert await follow == b""

    world.go(body)


def test_failing_starts_do_not_keep_the_devbox_from_ending(world: World) -> None:
    started = time.monotonic()

    async def body(box: Served) -> None:
        runs = (box.run("nosuch") for _ in range(6))
        sleeps = (box.start("sleep", "1000") for _ in range(3))
        await asyncio.gather(*runs, *sleeps)

    world.go(body)
    assert time.monotonic() - started < 10
