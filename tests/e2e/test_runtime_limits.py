"""Memory, processes and CPU time of a devbox are bounded where the machine can do so."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest

from stockade.runtime import cgroups
from tests.e2e.runtime_boxes import Boxes

pytestmark = pytest.mark.root

MIB = 1 << 20


@pytest.fixture(scope="module", params=["crun", "runc"])
def boxes(request: pytest.FixtureRequest) -> Iterator[Boxes]:
    with Boxes(request.param) as made:
        yield made


def needs(controller: str) -> None:
    if controller not in cgroups.detect().limits:
        pytest.skip(f"this machine cannot limit {controller}")


def test_memory_is_bounded_and_its_want_is_told(boxes: Boxes) -> None:
    needs("memory")
    script = "print('before', flush=True); x = bytearray(400 << 20); print('after')"
    done = boxes.python(script, memory=128 * MIB)
    assert done.stdout == "before\n"
    assert done.status == 137
    assert done.exit.oom_killed
    control = boxes.python(script, memory=1024 * MIB)
    assert (control.stdout, control.exit.oom_killed) == ("before\nafter\n", False)


def test_the_number_of_processes_is_bounded(boxes: Boxes) -> None:
    needs("pids")
    script = """
import os, time
made = 0
try:
    for made in range(100):
        if os.fork() == 0:
            time.sleep(30); os._exit(0)
except BlockingIOError:
    print('refused after', made)
else:
    print('all')
"""
    refused = boxes.python(script, pids=20)
    found = re.fullmatch(r"refused after (\d+)\n", refused.stdout)
    assert found is not None, refused
    assert 10 <= int(found[1]) <= 20
    assert boxes.python(script, pids=200).stdout == "all\n"


def test_cpu_time_is_bounded(boxes: Boxes) -> None:
    needs("cpu")
    script = """
import time
end = time.monotonic() + 0.6
while time.monotonic() < end: pass
print(time.process_time() / 0.6)
"""
    slow = float(boxes.python(script, cpus=0.2).stdout)
    assert slow < 0.5


def test_open_files_and_core_dumps_are_bounded(boxes: Boxes) -> None:
    done = boxes.sh("ulimit -Hn; ulimit -Sn; ulimit -c")
    hard, soft, core = done.stdout.split()
    assert hard == soft
    assert int(hard) <= 65_536
    assert core == "0"


def test_a_fork_bomb_ends_with_the_box(boxes: Boxes) -> None:
    needs("pids")
    running = boxes.start("bash", "-c", "b() { b | b & }; b; read line", pids=60)
    time.sleep(0.3)
    running.remove()
    assert cgroups.detect().directories(f"/stockade-{running.request.spec.id}") == []
