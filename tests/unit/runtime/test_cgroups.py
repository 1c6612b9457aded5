"""Control groups, on a directory that looks like the kernel's."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from stockade.runtime import cgroups
from stockade.runtime.cgroups import CgroupMode


def v1(root: Path, *controllers: str) -> None:
    for name in controllers:
        (root / name).mkdir(parents=True)
        (root / name / "cgroup.procs").touch()


def group(place: Path, kind: str = "tasks") -> Path:
    place.mkdir(parents=True)
    (place / kind).touch()
    (place / "cgroup.procs").write_text("")
    return place


def test_version_two_is_told_by_its_controllers(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpuset cpu io memory pids\n")
    found = cgroups.detect(tmp_path)
    assert found.mode is CgroupMode.V2
    assert found.limits == {"cpu", "memory", "pids"}
    assert found.warning is None


def test_version_one_is_told_by_its_directories(tmp_path: Path) -> None:
    v1(tmp_path, "memory", "freezer", "cpu")
    (tmp_path / "unified").mkdir()
    found = cgroups.detect(tmp_path)
    assert found.mode is CgroupMode.V1
    assert found.limits == {"cpu", "memory"}
    assert found.warning == "limits that this machine cannot enforce: pids"


@pytest.mark.parametrize("counted", [False, True])
def test_swap_is_limited_where_it_is_counted(tmp_path: Path, counted: bool) -> None:
    v1(tmp_path / "one", "memory")
    (tmp_path / "two").mkdir()
    (tmp_path / "two/cgroup.controllers").write_text("memory")
    below = group(tmp_path / "two/some.slice", "cgroup.events")
    if counted:
        (tmp_path / "one/memory/memory.memsw.limit_in_bytes").touch()
        (below / "memory.swap.max").touch()
    for root in ("one", "two"):
        assert ("swap" in cgroups.detect(tmp_path / root).limits) == counted


def test_a_machine_without_enforces_nothing_and_says_so(tmp_path: Path) -> None:
    found = cgroups.detect(tmp_path / "none")
    assert found.mode is CgroupMode.NONE
    assert found.limits == frozenset()
    assert found.warning == "limits that this machine cannot enforce: cpu, memory, pids"


@pytest.mark.parametrize("mode", [CgroupMode.V1, CgroupMode.V2])
def test_a_group_is_found_counted_and_read(tmp_path: Path, mode: CgroupMode) -> None:
    if mode is CgroupMode.V2:
        (tmp_path / "cgroup.controllers").write_text("memory")
        place = group(tmp_path / "box", "cgroup.events")
        (place / "memory.events").write_text("low 0\noom 3\noom_kill 2\n")
    else:
        v1(tmp_path, "memory", "pids")
        place = group(tmp_path / "memory/box")
        group(tmp_path / "pids/box")
        (place / "memory.oom_control").write_text("under_oom 0\noom_kill 2\n")
    below = group(place / "a/b")
    (place / "a/tasks").touch()
    (below / "cgroup.procs").write_text("7\n8\n")
    (place / "cgroup.procs").write_text("5\n")
    found = cgroups.detect(tmp_path)
    assert place in found.directories("/box")
    assert found.processes("/box") == {5, 7, 8}
    assert found.oom_kills("/box") == 2
    assert found.directories("/other") == []
    assert found.processes("/other") == set()
    assert found.oom_kills("/other") == 0
    found.remove("/other")


def test_an_imitation_of_a_group_is_removed(tmp_path: Path) -> None:
    """crun writes plain files where the second hierarchy was hidden from it."""
    v1(tmp_path, "memory")
    imitation = tmp_path / "unified/box"
    imitation.mkdir(parents=True)
    (imitation / "cgroup.procs").write_text("5")
    found = cgroups.detect(tmp_path)
    assert found.directories("/box") == []
    found.remove("/box")
    assert not imitation.exists()


def test_the_kernel_is_primed_by_a_move_that_changes_nothing(tmp_path: Path) -> None:
    own = Path("/proc/self/cgroup").read_text().splitlines()
    paths = {fields[1]: fields[2] for fields in (line.split(":", 2) for line in own)}
    path = paths.get("memory", "/")
    v1(tmp_path, "memory")
    place = tmp_path / "memory" / path.lstrip("/")
    place.mkdir(parents=True, exist_ok=True)
    found = cgroups.detect(tmp_path)
    before = threading.active_count()
    found.prime()
    while threading.active_count() > before:
        time.sleep(0.001)
    if "memory" in paths:
        assert (place / "cgroup.procs").read_text() == str(os.getpid())
    cgroups.Cgroups(CgroupMode.NONE, frozenset(), tmp_path).prime()
    assert threading.active_count() == before
