"""What a further command may is what the first one may, and it holds nothing of ours."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from stockade.hosting import BoxAccount
from tests.e2e.inside_boxes import ROOT, USER, Served, World
from tests.e2e.runtime_boxes import Boxes

pytestmark = pytest.mark.root

_SAME = "Cap|NoNewPrivs|Seccomp:|Uid|Gid|Groups"


@pytest.fixture(scope="module", params=["crun", "runc"])
def either(request: pytest.FixtureRequest) -> Iterator[World]:
    with Boxes(request.param) as boxes:
        yield World(boxes)


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with Boxes() as boxes:
        yield World(boxes)


def descriptors() -> int:
    """How many files this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def facts(pid: int) -> dict[str, str]:
    """What the kernel says of the confinement of a process."""
    process = Path(f"/proc/{pid}")
    lines = (process / "status").read_text().splitlines()
    status = {line for line in lines if re.match(_SAME, line)}
    limits = (process / "limits").read_text().splitlines()
    kinds = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")
    return {
        "status": "\n".join(sorted(status)),
        "limits": "\n".join(
            line for line in limits if re.match("Max (open files|core file)", line)
        ),
        "score": (process / "oom_score_adj").read_text(),
        "cgroup": (process / "cgroup").read_text(),
        **{kind: str((process / "ns" / kind).readlink()) for kind in kinds},
    }


def filters(pid: int) -> int:
    """How many filters of system calls a process is under."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("Seccomp_filters:")[1].split()[0])


async def pid_of(box: Served, account: BoxAccount) -> int:
    """Start a command and say which process of the machine it is."""
    name = await box.sh("cut -d' ' -f1 /proc/self/stat; sleep 1000", user=account)
    await box.first(name)
    return box.child(name)._process.pid


@pytest.mark.parametrize("account", [USER, ROOT], ids=["user", "root"])
def test_a_command_is_confined_as_the_first_one(
    either: World, account: BoxAccount
) -> None:
    async def body(box: Served) -> None:
        pid = await pid_of(box, account)
        further = facts(pid)
        first = facts(box.running.pid)  # Now that it is the init.
        assert further == first
        # What a thread of ours is under goes on to what it starts, and more is no less.
        assert filters(pid) >= filters(box.running.pid) >= 1
        assert first["status"].count("\n") >= 7

    either.go(body, user=account.name)


def test_the_user_of_a_command_says_what_it_may(either: World) -> None:
    async def body(box: Served) -> None:
        root = "grep CapEff /proc/self/status"
        as_user = await box.shell(root)
        as_root = await box.shell(root, user=ROOT)
        assert int(as_user.split()[1], 16) == 0
        assert int(as_root.split()[1], 16) != 0
        _, _, err = await box.run("sudo", "true")
        assert "no new privileges" in err

    either.go(body, user="user")


def test_it_is_in_no_session_of_ours(either: World) -> None:
    async def body(box: Served) -> None:
        pid = await pid_of(box, USER)
        assert os.getsid(pid) != os.getsid(0)
        assert os.getpgid(pid) != os.getpgrp()

    either.go(body)


def test_it_holds_three_descriptors(either: World) -> None:
    async def body(box: Served) -> None:
        out = await box.shell("exec ls -l /proc/self/fd | awk '{print $9}'")
        assert out.split() == ["0", "1", "2", "3"]  # The last one is that of `ls`.
        script = "for x in 0 1 2; do readlink /proc/$$/fd/$x; done"
        null, *pipes = (await box.shell(script)).split()
        assert null == "/dev/null"
        assert all(re.fullmatch(r"pipe:\[\d+\]", pipe) for pipe in pipes)

    either.go(body)


def test_its_outputs_can_be_opened_again_and_its_input_not_owned(
    either: World,
) -> None:
    async def body(box: Served) -> None:
        script = "echo a > /dev/stdout; echo b > /dev/stderr; stat -Lc %u /dev/stdin"
        status, out, err = await box.run("bash", "-c", script)
        assert (status, err) == (0, "b\n")
        assert out == "a\n65534\n"

    either.go(body)
    assert Path(os.devnull).stat().st_uid == 0


@pytest.mark.parametrize("number", range(3, 12))
def test_no_working_directory_leads_out(world: World, number: int) -> None:
    async def body(box: Served) -> None:
        workdir = f"/proc/self/fd/{number}"
        status, out, _ = await box.run("ls", "/", workdir=workdir, user=ROOT)
        assert (status, out) == (126, "")
        await box.shell(f"rm -r /root && ln -s {workdir} /root", user=ROOT)
        assert await box.shell("pwd", user=ROOT) == "/\n"

    world.go(body)


def test_nothing_is_left_in_the_directory_of_the_box(world: World) -> None:
    async def body(box: Served) -> None:
        directory = box.running.request.directory
        before = sorted(path.name for path in directory.iterdir())
        await box.run("true")
        await box.run("nosuch")
        assert sorted(path.name for path in directory.iterdir()) == before

    world.go(body)


def test_descriptors_are_given_back(world: World) -> None:
    async def body(box: Served) -> None:
        await box.run("true")
        before = descriptors()
        for _ in range(5):
            await box.run("true", attach_stdin=True)
            await box.run("nosuch", attach_stdin=True)
            await box.finish(await box.sh("sleep 0.1"))
        assert descriptors() == before

    world.go(body)
