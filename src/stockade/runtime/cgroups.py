"""Control groups: which limits this machine can enforce, and the end of a group.

The OCI runtime makes the groups and writes the limits; here is what it has no command
for. Version 2 is one tree, version 1 one tree for each controller.
"""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from stockade.errors import Unavailable

_ROOT = Path("/sys/fs/cgroup")
_WANTED = ("cpu", "memory", "pids")
_PATIENCE = 2.0
_FREEZE_PATIENCE = 10.0
#: What is written where: to let processes go on, and to stop them.
_FREEZER = {"cgroup.freeze": ("0", "1"), "freezer.state": ("THAWED", "FROZEN")}


class CgroupMode(Enum):
    """How the machine mounts control groups."""

    V1 = "v1"
    V2 = "v2"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Cgroups:
    """What the machine can limit. *limits* names controllers: cpu, memory, pids, swap.

    Swap is no controller of its own, but not every kernel counts it.
    """

    mode: CgroupMode
    limits: frozenset[str]
    root: Path = _ROOT

    @property
    def warning(self) -> str | None:
        """Say which limits are not enforced, if any."""
        missing = [name for name in _WANTED if name not in self.limits]
        if not missing:
            return None
        return f"limits that this machine cannot enforce: {', '.join(missing)}"

    def prime(self) -> None:
        """Have the kernel ready to move a process into a group; returns at once.

        The first move of a while waits for an RCU grace period (10 to 20 ms: half of a
        runtime's *create*), later ones do not. So this process is moved to where it is
        already, in a thread, while others prepare the devbox.
        """
        if self.mode is not CgroupMode.NONE:
            threading.Thread(target=self._move_nowhere, daemon=True).start()

    def _move_nowhere(self) -> None:
        # Inside a container the path may not be ours to see: then it is not done.
        with suppress(OSError):
            for line in Path("/proc/self/cgroup").read_text().splitlines():
                _, controllers, path = line.split(":", 2)
                if controllers == ("" if self.mode is CgroupMode.V2 else "memory"):
                    place = self.root / controllers / path.lstrip("/")
                    (place / "cgroup.procs").write_text(str(os.getpid()))

    def directories(self, path: str) -> list[Path]:
        """Return the directories that the group *path* has, if it exists."""
        name = path.lstrip("/")
        if self.mode is CgroupMode.V2:
            candidates = [self.root / name]
        else:
            candidates = sorted(self.root.glob(f"*/{name}"))
        # A directory that only looks like a group has none of the kernel's files.
        return [place for place in candidates if _is_group(place)]

    def processes(self, path: str) -> set[int]:
        """Return the pids in the group *path* and below."""
        found: set[int] = set()
        for directory in self.directories(path):
            for place in (directory, *_below(directory)):
                with suppress(OSError):
                    lines = (place / "cgroup.procs").read_text().split()
                    found.update(int(line) for line in lines)
        return found

    def kill(self, path: str) -> None:
        """Kill all processes of the group *path* and below."""
        for directory in self.directories(path):
            with suppress(OSError):
                (directory / "cgroup.kill").write_text("1")
            # Version 1 ends nobody who is stopped.
            with suppress(OSError):
                (directory / "freezer.state").write_text("THAWED")
        # Version 1 has no such file; what forked meanwhile is there the next time.
        deadline = time.monotonic() + _PATIENCE
        while (pids := self.processes(path)) and time.monotonic() < deadline:
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.001)

    def freeze(self, path: str, *, frozen: bool = True) -> None:
        """Stop all processes of the group *path*, or let them go on.

        Returns when they do. Raises `Unavailable` where the kernel cannot.
        """
        for directory in self.directories(path):
            for name, words in _FREEZER.items():
                if (directory / name).is_file():
                    (directory / name).write_text(words[frozen])
                    _await_frozen(directory, frozen=frozen)
                    return
        raise Unavailable("this machine has no control group that can stop processes")

    def oom_kills(self, path: str) -> int:
        """Return how many processes of the group died for want of memory."""
        counts = [0]
        for directory in self.directories(path):
            for name in ("memory.events", "memory.oom_control"):
                with suppress(OSError):
                    pairs = (directory / name).read_text().split()
                    facts = dict(zip(pairs[::2], pairs[1::2], strict=False))
                    counts.append(int(facts.get("oom_kill", 0)))
        return max(counts)

    def remove(self, path: str) -> None:
        """Remove the directories of the empty group *path*, and those below."""
        for directory in self.directories(path):
            for place in (*_below(directory), directory):
                _remove_directory(place)
        # What crun makes where the second hierarchy was hidden from it: plain files.
        imitation = self.root / "unified" / path.lstrip("/")
        if imitation.is_dir() and not _is_group(imitation):
            shutil.rmtree(imitation, ignore_errors=True)


def detect(root: Path = _ROOT) -> Cgroups:
    """Find out what the machine has, and may be written by us."""
    unified = root / "cgroup.controllers"
    if unified.is_file():
        if not os.access(root, os.W_OK):
            return Cgroups(CgroupMode.NONE, frozenset(), root)
        found = set(unified.read_text().split()) & set(_WANTED)
        # The root group has no such file; every group below it has.
        swap = any(root.glob("*/memory.swap.max"))
        mode = CgroupMode.V2
    else:
        found = {name for name in _WANTED if _is_writable(root / name)}
        swap = (root / "memory/memory.memsw.limit_in_bytes").is_file()
        mode = CgroupMode.V1 if found else CgroupMode.NONE
    if "memory" in found and swap:
        found.add("swap")
    return Cgroups(mode, frozenset(found), root)


def _await_frozen(directory: Path, *, frozen: bool) -> None:
    """Wait until the group says that it is as it was told to be."""
    deadline = time.monotonic() + _FREEZE_PATIENCE
    while True:
        state = directory / "freezer.state"
        if state.is_file():
            done = state.read_text().strip() == ("FROZEN" if frozen else "THAWED")
        else:
            done = f"frozen {frozen:d}" in (directory / "cgroup.events").read_text()
        if done:
            return
        if time.monotonic() > deadline:
            raise Unavailable("the processes of the devbox do not stop")
        time.sleep(0.001)


def _is_writable(hierarchy: Path) -> bool:
    return (hierarchy / "cgroup.procs").is_file() and os.access(hierarchy, os.W_OK)


def _is_group(place: Path) -> bool:
    return any((place / name).is_file() for name in ("cgroup.events", "tasks"))


def _below(directory: Path) -> Iterator[Path]:
    """Yield the groups below *directory*, the deepest first."""
    for top, names, _ in os.walk(directory, topdown=False):
        for name in names:
            yield Path(top) / name


def _remove_directory(place: Path) -> None:
    """Remove one group; the last process may be some moments in leaving it."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            place.rmdir()
        except FileNotFoundError:
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.001)
        else:
            return
