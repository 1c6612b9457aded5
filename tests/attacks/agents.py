"""The test's end of `tests.attacks.agentdriver`: several devboxes behind one gateway."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.lab import Lab
from tests.lab.stockade import read_flows

_ROOT = Path(__file__).resolve().parents[2]


class Agent:
    """A host agent in the host namespace of a lab, spoken to by lines of JSON."""

    def __init__(self, process: subprocess.Popen[str], directory: Path) -> None:
        self._process = process
        self._directory = directory

    @property
    def pid(self) -> int:
        """The agent's process."""
        return self._process.pid

    def call(self, op: str, **fields: object) -> dict[str, Any]:
        """Ask for something and wait until it is done."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"op": op, **fields}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, (self._directory / "agent.err").read_text()
        answer: dict[str, Any] = json.loads(line)
        return answer

    def output(self, name: str) -> str:
        """What the code of a devbox has printed so far."""
        return (self._directory / f"{name}.out").read_text()

    def flows(self) -> tuple[Mapping[str, Any], ...]:
        """The completed flow records so far."""
        return read_flows(self._directory / "flows.jsonl")


@contextmanager
def running_agent(lab: Lab) -> Iterator[Agent]:
    """An agent, without devboxes yet, until the end of the block."""
    directory = Path(tempfile.mkdtemp(dir=lab.directory))
    with (directory / "agent.err").open("w") as errors:
        process = lab.popen_host(
            [sys.executable, "-m", "tests.attacks.agentdriver", str(directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            cwd=_ROOT,
        )
    with process:
        yield Agent(process, directory)
        process.communicate(timeout=20)


def policy(*names: str, **fields: object) -> dict[str, object]:
    """A policy of host names, with further fields."""
    return {"name": "test", "allowed_hostnames": list(names), **fields}
