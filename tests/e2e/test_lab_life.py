"""Labs do not meet, and nothing of a lab outlives its owner, however that one ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.lab import Lab
from tests.lab import netns as namespaces
from tests.lab.addresses import DIRECT4

pytestmark = pytest.mark.root

ROOT = Path(__file__).resolve().parents[2]
OWNER = """
import sys
from tests.lab import Lab
with Lab() as lab:
    print(lab.id, lab._server.pid, flush=True)
    sys.stdin.read()
"""


def leftovers(lab: str) -> list[Path]:
    places = (
        namespaces.NETNS / namespaces.host(lab),
        namespaces.NETNS / namespaces.inet(lab),
        namespaces.ETC / namespaces.host(lab),
        namespaces.RUN / lab,
    )
    return [place for place in places if place.exists()]


def has_ended(pid: int) -> bool:
    """Whether a process is gone, or waits for a parent that does not ask for it."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True
    return stat.rpartition(")")[2].split()[0] == "Z"


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.01)


def start_owner() -> tuple[subprocess.Popen[str], str, int]:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert owner.stdout is not None
    lab, server = owner.stdout.readline().split()
    return owner, lab, int(server)


def end(owner: subprocess.Popen[str]) -> None:
    owner.communicate(timeout=10)


def test_two_labs_at_once_see_only_their_own():
    with Lab() as one, Lab() as two:
        one.exec_host(["curl", "-s", "http://a.test/for-one"])
        two.exec_host(["curl", "-s", "http://a.test/for-two"])

        assert [e.detail["path"] for e in one.seen(kind="http")] == ["/for-one"]
        assert [e.detail["path"] for e in two.seen(kind="http")] == ["/for-two"]
    assert leftovers(one.id) == leftovers(two.id) == []


def test_an_exception_leaves_nothing():
    with pytest.raises(ZeroDivisionError), Lab() as lab:
        raise ZeroDivisionError

    assert leftovers(lab.id) == []


def test_a_lab_ends_with_the_processes_started_in_it():
    with Lab() as lab:
        sleeper = lab.popen_host(["sleep", "600"])

    assert sleeper.wait(timeout=5) == -signal.SIGKILL


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_a_signal_to_the_owner_leaves_nothing(how):
    owner, lab, _ = start_owner()
    assert leftovers(lab)

    owner.send_signal(how)
    end(owner)

    wait_until(lambda: not leftovers(lab))


def test_the_next_lab_sweeps_what_a_killed_one_left():
    owner, lab, server = start_owner()
    os.kill(server, signal.SIGSTOP)  # it must not clean up before it dies
    owner.kill()
    end(owner)
    os.kill(server, signal.SIGKILL)
    wait_until(lambda: has_ended(server))
    assert leftovers(lab)

    with Lab():
        assert leftovers(lab) == []


def test_a_living_lab_is_not_swept(lab):
    namespaces.sweep()

    assert len(leftovers(lab.id)) == 4


def test_it_starts_quickly():
    began = time.monotonic()
    with Lab():
        assert time.monotonic() - began < 1.5


def test_a_server_of_the_test_can_listen_among_the_servers(lab):
    code = (
        "import socket; s = socket.create_server(('0.0.0.0', 7000)); print(flush=True);"
        "s.accept()[0].sendall(b'mine')"
    )
    argv = [sys.executable, "-c", code]
    server = lab.popen_inet(argv, stdout=subprocess.PIPE)
    server.stdout.readline()

    client = f"cat < /dev/tcp/{DIRECT4[1]}/7000"
    assert lab.exec_host(["bash", "-c", client]).stdout == "mine"
    server.communicate(timeout=5)


def test_the_host_namespace_keeps_the_control_groups_of_the_machine(lab):
    here = sorted(path.name for path in Path("/sys/fs/cgroup").iterdir())

    assert lab.exec_host(["ls", "/sys/fs/cgroup"]).stdout.split() == here
