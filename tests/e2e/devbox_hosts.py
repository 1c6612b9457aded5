"""What the tests of served devboxes share: a host of them, in a process of its own."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from stockade.config import Settings
from tests.lab import Lab

PATIENCE = 20.0


class HostFailed(Exception):
    """The host could not do what it was told."""


class Host:
    """A host in the lab. Its directory stays when it is killed, and it can be restarted."""

    def __init__(self, lab: Lab, ahead: int = 0) -> None:
        self.lab = lab
        self.directory = Path(tempfile.mkdtemp(dir=lab.directory, prefix="serving-"))
        self.directory.chmod(0o711)
        (self.directory / "data").mkdir(mode=0o755)
        images = self.directory / "data/images"
        images.symlink_to(Settings().data_dir / "images")
        self._ahead = ahead
        self.process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self.launch()
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process is not None
        assert self.process.stdin is not None
        with self.process:
            self.process.stdin.close()
            assert self.process.wait(40) == 0
        assert self.mounts() == []
        assert self.loops() == []

    def launch(self) -> None:
        """Start the process and wait until it serves."""
        driver = "tests.e2e.devbox_host_driver"
        self.process = self.lab.popen_host(
            [sys.executable, "-m", driver, str(self.directory)],
            env={"WARM_POOL": str(self._ahead), "PYTHONPATH": str(Path.cwd())},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        assert json.loads(self.process.stdout.readline()) == "ready"

    def kill(self) -> None:
        """Kill the process, as a crash would."""
        assert self.process is not None
        with self.process:
            self.process.kill()

    def tell(self, word: str, **fields: Any) -> Any:
        """Give an order; what came of it. Raises `HostFailed`."""
        assert self.process is not None
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps([word, fields]) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        if "error" in answer:
            raise HostFailed(answer["error"])
        return answer["value"]

    def start(self, *names: str, **fields: Any) -> list[float]:
        """Start devboxes at once; how long each took."""
        said = self.tell("start", names=names, **fields)
        assert said["errors"] == []
        seconds: list[float] = said["seconds"]
        return seconds

    def sh(self, name: str, script: str, **fields: Any) -> str:
        """What a script prints that succeeds."""
        status, out, err = self.tell("sh", name=name, script=script, **fields)
        assert status == 0, (status, out, err)
        printed: str = out
        return printed

    def place(self, name: str) -> Path:
        """Where a devbox's disk is."""
        return self.directory / "data/devboxes" / name

    def mounts(self) -> list[str]:
        """What is mounted below the directory, by any process of this machine."""
        found = set()
        for table in Path("/proc").glob("[0-9]*/mountinfo"):
            try:
                lines = table.read_text(errors="replace").splitlines()
            except OSError:
                continue
            found |= {line for line in lines if str(self.directory) in line}
        return sorted(found)

    def loops(self) -> list[str]:
        """The files below the directory that loop devices hold."""
        found = []
        for place in Path("/sys/block").glob("loop*/loop/backing_file"):
            try:
                text = place.read_text()
            except OSError:
                continue
            if str(self.directory) in text:
                found.append(text.strip())
        return found


def processes_of(devbox: str) -> list[int]:
    """The processes of a devbox, by its control group."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"/stockade-{devbox}\n" in (place / "cgroup").read_text():
                found.append(int(place.name))
    return found


def eventually(what: Callable[[], Any]) -> None:
    """Wait until *what* holds."""
    deadline = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < deadline, "it does not come to that"
        time.sleep(0.05)
