"""The driver for command line runtimes: crun, runc, runsc."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stockade.command import run, spawn
from stockade.errors import CommandError, Unavailable
from stockade.runtime import ownership, syscalls
from stockade.runtime.driver import ContainerState, Stdio

# Generous: a loaded machine is slow, and a runtime that hangs must not hang us.
_TIME_LIMIT = 60.0

_thread = threading.local()


@dataclass(frozen=True, slots=True)
class Start:
    """For a runtime that starts a further process: a log of its own, and its score."""

    log: Path
    oom_score: int | None


@dataclass(frozen=True, slots=True)
class OciDriver:
    """Runs *program* with its state below *root*.

    Containers become children of this process when it is a child subreaper. With
    *cgroups* off, crun is told to touch none.
    """

    program: str
    root: Path
    cgroups: bool = True

    @property
    def needs_delete(self) -> bool:
        """Whether the runtime keeps more than a state directory and a control group.

        crun and runc do not, and both of those are removed without them, in less time.
        """
        return Path(self.program).name not in {"crun", "runc"}

    def create(self, name: str, bundle: Path, stdio: Stdio | Path) -> int:
        file = bundle / "pid"
        options = ["--bundle", str(bundle), "--pid-file", str(file)]
        self._run_with(stdio, "create", options, [name])
        return _read_pid(file)

    def start(self, name: str) -> None:
        self._run("start", name)

    def kill(self, name: str, number: signal.Signals) -> None:
        self._run("kill", name, str(int(number)))

    def state(self, name: str) -> ContainerState:
        done = run(self._argv("state", name), check=False, timeout=_TIME_LIMIT)
        if done.status:
            return ContainerState.ABSENT
        return ContainerState(json.loads(done.stdout)["status"])

    def exec(
        self, name: str, process: Mapping[str, Any], stdio: Stdio | Path, scratch: Path
    ) -> int:
        file, pid_file = scratch / "process.json", scratch / "pid"
        _write_private(file, json.dumps(process))
        options = ["--detach", "--process", str(file), "--pid-file", str(pid_file)]
        # A log of its own: others are started at the same time.
        start = Start(scratch / "log", process.get("oomScoreAdj"))
        self._run_with(stdio, "exec", options, [name], start)
        pid = _read_pid(pid_file)
        if start.oom_score is not None:
            _score(pid, start.oom_score)  # if it was made before its runtime had it
        if os.getsid(pid) == os.getsid(0):
            # It would be signalled with us, and our terminal would be its own.
            os.kill(pid, signal.SIGKILL)
            raise Unavailable(f"{self.program} starts nothing in a session of its own")
        return pid

    def delete(self, name: str) -> None:
        argv = self._argv("delete", "--force", name)
        run(argv, check=False, timeout=_TIME_LIMIT)

    def _argv(self, verb: str, *arguments: str, log: Path | None = None) -> list[str]:
        kind = Path(self.program).name
        options = ["--root", str(self.root)]
        options += ["--log", str(log or self._log), "--log-format", "json"]
        if kind == "crun":
            manager = "cgroupfs" if self.cgroups else "disabled"
            options += ["--cgroup-manager", manager]
        elif kind == "runsc":
            # The network is ours, made by the host side and policed there.
            options += ["--network", "host", "--platform", "ptrace"]
        return [self.program, *options, verb, *arguments]

    @property
    def _log(self) -> Path:
        return self.root / "log"

    def _run(self, verb: str, *arguments: str) -> None:
        argv = self._argv(verb, *arguments)
        done = run(argv, check=False, timeout=_TIME_LIMIT)
        if done.status:
            raise CommandError(
                argv[:1] + argv[-1 - len(arguments) :], done.status, _said(self._log)
            )

    def _run_with(
        self,
        stdio: Stdio | Path,
        verb: str,
        options: Sequence[str],
        last: list[str],
        start: Start | None = None,
    ) -> None:
        """Run *verb*, whose process is to have *stdio*.

        Its own messages come by the log file: the descriptors belong to the devbox.
        """
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        if isinstance(stdio, Path):
            null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
            ends = (null, null, null)
            options = [*options, "--console-socket", str(stdio)]
        else:
            null = -1
            ends = (stdio.stdin, stdio.stdout, stdio.stderr)
        try:
            log = start.log if start else self._log
            argv = self._argv(verb, *options, *last, log=log)
            status = _wait(argv, ends, start)
        finally:
            if null >= 0:
                os.close(null)
        if status:
            raise CommandError([self.program, verb, *last], status, _said(log))


def find_program(wanted: str) -> str:
    """Return the path of the runtime *wanted*: a name to look up, or a path."""
    found = shutil.which(wanted)
    if found is None:
        raise Unavailable(
            f"the container runtime {wanted} is not installed; `stockade doctor` "
            "names the package, and the setting `runtime` takes another"
        )
    return found


def guard_thread() -> None:
    """Let runtimes that this thread starts give no standard stream to a devbox.

    crun gives the descriptors it is started with to root of the devbox, whatever they
    are: the machine's /dev/null, or a log file that output goes to. (runc does no such
    thing.) This cannot be undone.
    """
    if not getattr(_thread, "is_guarded", False):
        syscalls.filter_calls(ownership.keep_stdio(os.uname().machine))
        _thread.is_guarded = True


def _wait(argv: Sequence[str], ends: tuple[int, int, int], start: Start | None) -> int:
    """Run *argv* to its end with *ends* as 0, 1 and 2, from a guarded thread if need be."""
    if Path(argv[0]).name != "crun" or getattr(_thread, "is_guarded", False):
        return _wait_here(argv, ends, start)
    with ThreadPoolExecutor(1, "runtime", guard_thread) as thread:
        return thread.submit(_wait_here, argv, ends, start).result()


def _wait_here(
    argv: Sequence[str], ends: tuple[int, int, int], start: Start | None
) -> int:
    process = spawn(
        argv,
        stdin=ends[0],
        stdout=ends[1],
        stderr=ends[2],
    )
    descriptor = os.pidfd_open(process.pid)
    try:
        if start is not None and start.oom_score is not None:
            # crun hands on what it has itself, whatever the process object says.
            _score(process.pid, start.oom_score)
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        if not poll.poll(_TIME_LIMIT * 1000):
            process.kill()
            raise CommandError(argv, -1, f"no end within {_TIME_LIMIT} s")
    finally:
        os.close(descriptor)
        status = process.wait()
    return status


def _score(pid: int, score: int) -> None:
    with suppress(OSError):  # it has ended already
        Path(f"/proc/{pid}/oom_score_adj").write_text(str(score))


def _said(log: Path) -> str:
    """Return the last error in a runtime's log."""
    with suppress(OSError):
        for line in reversed(log.read_text().splitlines()):
            with suppress(ValueError):
                entry = json.loads(line)
                if entry.get("level") in {"error", "fatal", None}:
                    return str(entry.get("msg", line))
    return ""


def _read_pid(file: Path) -> int:
    return int(file.read_text())


def _write_private(file: Path, text: str) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    with open(os.open(file, flags, 0o600), "w", encoding="utf-8") as stream:
        stream.write(text)
