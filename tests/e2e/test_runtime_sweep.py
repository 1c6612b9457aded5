"""What a killed owner leaves is swept by the next one, and by one only."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from stockade.errors import Conflict
from stockade.runtime import cgroups, removal
from tests.e2e.runtime_boxes import TIMEOUT, Boxes

pytestmark = pytest.mark.root


@pytest.fixture
def boxes() -> Iterator[Boxes]:
    with Boxes() as made:
        yield made


OWNER = """
import sys, time
from pathlib import Path
from tests.e2e.runtime_boxes import Boxes
boxes = Boxes(sys.argv[1]).__enter__()
running = getattr(boxes, sys.argv[2])("bash", "-c", sys.argv[3])
print(boxes.run_dir, running.request.spec.id, running.pid, flush=True)
time.sleep(1000)
"""


@pytest.mark.parametrize("runtime", ["crun", "runc"])
@pytest.mark.parametrize("state", ["create", "start"])
def test_a_box_whose_owner_was_killed_is_swept(runtime: str, state: str) -> None:
    script = "(sleep 100 &); setsid sleep 100 & sleep 100"
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, runtime, state, script],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert owner.stdout is not None
    words = owner.stdout.readline().split()
    run_dir, name, pid = Path(words[0]), words[1], int(words[2])
    assert list(removal.abandoned(run_dir)) == [], "its owner lives"
    assert removal.sweep(run_dir) == []
    owner.kill()
    owner.wait()
    owner.stdout.close()
    assert Path(f"/proc/{pid}").exists(), "the box outlives its owner"
    assert removal.sweep(run_dir) == [run_dir / name]
    state_now = Path(f"/proc/{pid}/stat")
    assert not state_now.exists() or " Z " in state_now.read_text()
    assert not (run_dir / name).exists()
    assert list((run_dir / "ids").iterdir()) == []
    assert cgroups.detect().directories(f"/stockade-{name}") == []
    assert removal.sweep(run_dir) == []
    removal.remove(run_dir / name)
    (run_dir / "ids").rmdir()
    run_dir.rmdir()


def test_removers_do_not_get_in_each_others_way(tmp_path: Path) -> None:
    directory = tmp_path / "box"
    directory.mkdir()
    os.close(removal.hold(directory))
    for n in range(300):
        (directory / str(n)).mkdir()
    with ThreadPoolExecutor(4) as threads:
        sweeping = threads.submit(removal.sweep, tmp_path)
        removing = [threads.submit(removal.remove, directory) for _ in range(3)]
        for one in removing:
            one.result(TIMEOUT)
        sweeping.result(TIMEOUT)
    assert not directory.exists()


def test_a_live_owner_is_not_robbed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(removal, "_LOCK_PATIENCE", 0.05)
    directory = tmp_path / "box"
    directory.mkdir()
    held = removal.hold(directory)
    with pytest.raises(Conflict, match="in use by a running stockade"):
        removal.remove(directory)
    assert removal.sweep(tmp_path) == []
    os.close(held)
    removal.remove(directory)
    assert not directory.exists()


def test_disks_that_a_reboot_left_are_swept(boxes: Boxes, tmp_path: Path) -> None:
    disks = tmp_path / "disks"
    boxes.image = replace(boxes.image, disks=disks)
    for name, owner in (
        ("gone", "/run/no/such/box"),
        ("other", str(tmp_path)),
        ("new", ""),
    ):
        (disks / name / "upper").mkdir(parents=True)
        (disks / name / "box").write_text(owner)
    running = boxes.create("true")
    name = running.request.spec.id
    assert sorted(path.name for path in disks.iterdir()) == sorted(
        ["new", "other", name]
    )
    assert (disks / name).stat().st_mode & 0o777 == 0o700
    running.remove()
    assert not (disks / name).exists()


HELPER = """
import os, time
from stockade.runtime import syscalls
print(syscalls.clone_into_user_namespace(), flush=True)
time.sleep(1000)
"""


def test_the_helper_for_user_namespaces_dies_with_its_parent() -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", HELPER], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    child = Path(f"/proc/{int(parent.stdout.readline())}/stat")
    assert " S " in child.read_text() or " R " in child.read_text()
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + TIMEOUT
    while child.exists() and " Z " not in child.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.005)


SLOW_OWNER = """
import sys
from tests.e2e.runtime_boxes import Boxes
boxes = Boxes(sys.argv[1]).__enter__()
print(boxes.run_dir, flush=True)
for _ in range(1000):
    boxes.run("true")
"""


@pytest.mark.parametrize("runtime", ["crun", "runc"])
def test_an_owner_may_be_killed_at_any_moment(runtime: str) -> None:
    for delay in (n * 0.007 for n in range(12)):
        owner = subprocess.Popen(
            [sys.executable, "-c", SLOW_OWNER, runtime],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert owner.stdout is not None
        run_dir = Path(owner.stdout.readline().strip())
        while not any(run_dir.glob("*/lock")):
            time.sleep(0.001)
        time.sleep(delay)
        owner.kill()
        owner.wait()
        owner.stdout.close()
        # A child that was being started may hold the lock for some moments more.
        deadline = time.monotonic() + TIMEOUT
        while any(run_dir.glob("*/lock")):
            removal.sweep(run_dir)
            assert time.monotonic() < deadline
        time.sleep(0.1)  # for whatever may have been forgotten to show itself
        name = run_dir.name
        for place in run_dir.glob(".*"):
            place.unlink()
        kept = [path for path in run_dir.iterdir() if path.name != "ids"]
        assert all(not any(path.iterdir()) for path in kept), "killed before it began"
        assert not list(Path("/sys/fs/cgroup").glob(f"*/stockade-{name}*"))
        assert not list(Path("/var/lib/stockade/disks").glob(f"{name}*"))
        assert not [line for line in command_lines() if name in line]
        shutil.rmtree(run_dir)


def command_lines() -> Iterator[str]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            yield path.read_text(errors="replace")
