"""A devbox lives and ends, with crun and with runc: the contract of the drivers."""

from __future__ import annotations

import os
import re
import select
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stockade.errors import Conflict
from stockade.runtime.driver import ContainerState, Stdio
from stockade.runtime.oci import OciDriver, find_program
from stockade.runtime.program import ProgramNotFound
from tests.e2e.runtime_boxes import TIMEOUT, Boxes, Running, signalled

pytestmark = pytest.mark.root


@pytest.fixture(params=["crun", "runc", "runsc"])
def boxes(request: pytest.FixtureRequest) -> Iterator[Boxes]:
    if shutil.which(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    with Boxes(request.param) as made:
        yield made


def read_until(descriptor: int, wanted: bytes) -> bytes:
    seen, deadline = b"", time.monotonic() + TIMEOUT
    while wanted not in seen:
        assert time.monotonic() < deadline, seen
        assert select.select([descriptor], [], [], TIMEOUT)[0]
        seen += os.read(descriptor, 4096)
    return seen


def wait_for(running: Running, wanted: bytes) -> None:
    deadline = time.monotonic() + TIMEOUT
    while wanted not in running.received["stdout"]:
        assert time.monotonic() < deadline, running.received
        time.sleep(0.005)


@pytest.mark.parametrize("status", [0, 1, 42, 255])
def test_the_exit_status_comes_out(boxes: Boxes, status: int) -> None:
    done = boxes.sh(f"exit {status}")
    assert done.status == status
    assert not done.exit.oom_killed


def test_death_by_a_signal_is_128_and_its_number(boxes: Boxes) -> None:
    assert boxes.sh("kill -9 $$").status == signalled(signal.SIGKILL)


def test_streams_are_separate_and_whole(boxes: Boxes) -> None:
    done = boxes.run("sh", "-c", "cat; echo problem >&2", stdin=b"one\ntwo\n")
    assert (done.stdout, done.stderr) == ("one\ntwo\n", "problem\n")
    big = boxes.sh("head -c 3000000 /dev/zero | tr '\\0' x")
    assert len(big.stdout) == 3_000_000


def test_output_streams_while_it_runs(boxes: Boxes) -> None:
    running = boxes.start("sh", "-c", "echo ready; read line; echo got $line")
    wait_for(running, b"ready\n")
    running.write(b"it\n")
    assert running.finish().stdout == "ready\ngot it\n"


def test_signals_reach_the_command(boxes: Boxes) -> None:
    script = "trap 'echo term; exit 7' TERM; echo ready; while :; do sleep 0.05; done"
    running = boxes.start("bash", "-c", script)
    wait_for(running, b"ready\n")
    running.box.signal(signal.SIGTERM)
    done = running.finish()
    assert (done.status, done.stdout) == (7, "ready\nterm\n")


def test_orphans_are_reaped_inside(boxes: Boxes) -> None:
    script = "(sleep 0.05 &) ; sleep 0.3; ps -eo stat= | grep -c Z; true"
    assert boxes.sh(script).stdout == "0\n"


def test_the_end_is_seen_on_the_descriptor(boxes: Boxes) -> None:
    running = boxes.start("sh", "-c", "read line")
    assert running.box.reap() is None
    running.close_stdin()
    assert select.select([running.box.pidfd], [], [], TIMEOUT)[0]
    ended = running.box.reap()
    assert ended is not None
    assert ended.status == 1
    assert running.box.reap() == ended


def test_nothing_of_the_image_runs_before_start(boxes: Boxes) -> None:
    running = boxes.create("sh", "-c", "echo ran")
    assert running.pid > 0
    interfaces = Path(f"/proc/{running.pid}/net/dev").read_text()
    names = re.findall(r"^\s*(\S+):", interfaces, re.MULTILINE)
    assert names == ["lo"]
    time.sleep(0.1)
    assert running.received["stdout"] == b""
    running.start()
    assert running.finish().stdout == "ran\n"


def test_a_created_box_can_be_removed(boxes: Boxes) -> None:
    running = boxes.create("true")
    running.remove()
    running.remove()
    assert not running.request.directory.exists()


def test_a_terminal_has_a_size_and_passes_keys(boxes: Boxes) -> None:
    running = boxes.start(
        "sh",
        "-c",
        "test -t 0 && tty; echo $TERM; stty size; read line; stty size; exit 3",
        terminal=True,
        console_size=(100, 30),
    )
    terminal = running.box.terminal
    seen = read_until(terminal, b"30 100")
    assert b"/dev/pts/0" in seen
    assert b"xterm" in seen
    running.box.resize(120, 40)
    os.write(terminal, b"go\n")
    read_until(terminal, b"40 120")
    assert boxes.do(running.box.wait).status == 3


def test_control_c_interrupts_in_a_terminal(boxes: Boxes) -> None:
    running = boxes.start("sh", "-c", "echo ready; exec cat", terminal=True)
    read_until(running.box.terminal, b"ready")
    os.write(running.box.terminal, b"\x03")
    assert boxes.do(running.box.wait).status == signalled(signal.SIGINT)


def test_another_process_can_be_started_inside(boxes: Boxes, tmp_path: Path) -> None:
    running = boxes.start("sh", "-c", "read line")
    root = running.request.directory / "oci"
    driver = OciDriver(find_program(boxes.runtime), root)
    name = running.request.spec.id
    assert driver.state(name) is ContainerState.RUNNING
    reading, writing = os.pipe()
    with open(os.devnull, "rb") as null:
        stdio = Stdio(null.fileno(), writing, writing)
        process = {
            "args": ["sh", "-c", "echo inside; exit 9"],
            "cwd": "/",
            "user": {"uid": 1000, "gid": 1000},
            "env": ["PATH=/usr/bin"],
        }
        pid = boxes.do(lambda: driver.exec(name, process, stdio, tmp_path))
    os.close(writing)
    with os.fdopen(reading) as output:
        assert output.read() == "inside\n"
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9
    boxes.do(lambda: driver.kill(name, signal.SIGKILL))
    assert boxes.do(running.box.wait).status == signalled(signal.SIGKILL)


def test_a_program_that_is_missing_is_told_before_it_starts(boxes: Boxes) -> None:
    with pytest.raises(ProgramNotFound, match=r"no such program.*'nope'") as missing:
        boxes.run("nope")
    assert missing.value.status == 127
    with pytest.raises(ProgramNotFound) as refused:
        boxes.run("/etc/passwd")
    assert refused.value.status == 126


def test_a_box_needs_streams_or_a_terminal(boxes: Boxes) -> None:
    running = Running(boxes, boxes.request("true"))
    boxes.do(running.box.prepare)
    try:
        with pytest.raises(Conflict, match="needs stdin"):
            boxes.do(running.box.create)
    finally:
        boxes.do(running.box.remove)
