"""Devboxes run on every layout of control groups; what cannot be limited is told.

The layouts are made in a mount namespace of the test's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from stockade.runtime import cgroups, syscalls
from stockade.runtime.cgroups import CgroupMode
from tests.e2e.runtime_boxes import Boxes

pytestmark = pytest.mark.root

CGROUP = "/sys/fs/cgroup"


@pytest.fixture(params=["crun", "runc"])
def boxes(request: pytest.FixtureRequest) -> Iterator[Boxes]:
    with Boxes(request.param) as made:
        yield made


def test_the_unified_hierarchy_alone(boxes: Boxes) -> None:
    unified = Path(CGROUP, "unified")
    if not (unified / "cgroup.controllers").is_file():
        pytest.skip("this machine has no second hierarchy to show alone")

    def show_alone() -> None:
        syscalls.mount("none", CGROUP, "cgroup2", 0)

    boxes.do(show_alone)
    assert boxes.do(cgroups.detect).mode is CgroupMode.V2
    running = boxes.start("bash", "-c", "cat /sys/fs/cgroup/cgroup.procs; read line")
    warning = running.box.warning
    name = f"stockade-{running.request.spec.id}"
    assert boxes.do(lambda: Path(CGROUP, name).is_dir())
    assert running.pid in boxes.do(lambda: cgroups.detect().processes(f"/{name}"))
    running.write(b"\n")
    done = running.finish()
    assert done.status == 0
    # Seen from inside: init, the shell, cat.
    assert "1" in done.stdout.split()
    assert len(done.stdout.split()) == 3
    assert not boxes.do(lambda: Path(CGROUP, name).exists())
    missing = {"cpu", "memory", "pids"} - boxes.do(cgroups.detect).limits
    assert (warning is not None) == bool(missing)


def test_none_at_all() -> None:
    with Boxes("crun") as boxes:
        boxes.do(lambda: syscalls.mount("none", CGROUP, "tmpfs", 0))
        assert boxes.do(cgroups.detect).mode is CgroupMode.NONE
        running = boxes.start("sh", "-c", "echo ran; read line", memory=1 << 28)
        assert running.box.warning == (
            "limits that this machine cannot enforce: cpu, memory, pids"
        )
        assert running.finish().stdout == "ran\n"
