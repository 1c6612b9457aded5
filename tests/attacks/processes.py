"""The processes of a `stockade run`, found from outside, and what it left behind."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.lab.lab import RUN_DIR

PATIENCE = 10.0


def children(pid: int) -> Iterator[tuple[int, str]]:
    """The children of a process, with their command lines."""
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            stat = (directory / "stat").read_text().rpartition(")")[2].split()
            command = (directory / "cmdline").read_bytes()
        except OSError:
            continue
        if int(stat[1]) == pid:
            yield int(directory.name), command.replace(b"\0", b" ").decode()


def child(pid: int, wanted: str) -> int:
    """The child of *pid* whose command line contains *wanted*; it may take a moment."""
    found: list[int] = []

    def is_there() -> bool:
        found[:] = [number for number, line in children(pid) if wanted in line]
        return bool(found)

    wait_until(is_there, f"a child with {wanted!r}")
    return found[0]


def gateway_of(pid: int) -> int:
    """The gateway process of a `stockade run`."""
    return child(pid, "stockade.cli.gateway")


def init_of(pid: int) -> int:
    """The first process of its devbox."""
    return child(pid, "/.stockade/")


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return (
            Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        )
    except OSError:
        return False


def resident(pid: int) -> float:
    """The memory a process holds, in MiB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096 / 2**20


def devboxes() -> set[str]:
    """The devbox directories there are."""
    return {path.name for path in RUN_DIR.glob("dbx_*")}


def control_groups() -> set[str]:
    """The control groups of devboxes there are, but for those of other suites."""
    others = {
        path.name
        for path in Path("/run").glob("stockade*/dbx_*")
        if path.parent != RUN_DIR
    }
    return {
        str(path)
        for path in Path("/sys/fs/cgroup").glob("**/stockade-dbx_*")
        if path.name.removeprefix("stockade-") not in others
    }


def mounts() -> set[str]:
    """The mounts of devboxes that this process can see."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return {line.split()[4] for line in lines if str(RUN_DIR / "dbx_") in line}


def wait_until(
    condition: Callable[[], bool], what: str, patience: float = PATIENCE
) -> None:
    """Wait for a condition, not for long."""
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, f"no {what} within {patience} s"
        time.sleep(0.01)
