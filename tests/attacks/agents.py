"""The test's end of `tests.attacks.agentdriver`: several devboxes behind one gateway."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.attacks.processes import PATIENCE, wait_until
from tests.lab import Lab
from tests.lab.stockade import read_flows

_ROOT = Path(__file__).resolve().parents[2]


class Agent:
    """A host agent in the host namespace of a lab, spoken to by lines of JSON."""

    def __init__(self, process: subprocess.Popen[str], directory: Path) -> None:
        self._process = process
        self._directory = directory
        self._read: dict[str, int] = {}

    @property
    def pid(self) -> int:
        """The agent's process."""
        return self._process.pid

    def call(self, op: str, **fields: object) -> dict[str, Any]:
        """Ask for something and wait until it is done."""
        self.ask(op, **fields)
        return self.answer()

    def ask(self, op: str, **fields: object) -> None:
        """Ask for something; `answer` says what came of it."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"op": op, **fields}) + "\n")
        self._process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """The answer to what was asked."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, self.said()
        answer: dict[str, Any] = json.loads(line)
        return answer

    def said(self) -> str:
        """What the agent and its gateways have complained of so far."""
        return (self._directory / "agent.err").read_text()

    def output(self, name: str) -> str:
        """What the code of a devbox has printed so far."""
        return (self._directory / f"{name}.out").read_text()

    def tell(self, name: str, line: str, patience: float = 20.0) -> Any:
        """Give a devbox's code a line; the line of JSON that it answers with."""
        before = len(self.output(name))
        self.call("tell", name=name, line=line)
        deadline = time.monotonic() + patience
        while "\n" not in (said := self.output(name)[before:]):
            assert time.monotonic() < deadline, f"no answer to {line!r}"
            time.sleep(0.002)
        return json.loads(said)

    def flows(self) -> tuple[Mapping[str, Any], ...]:
        """The completed flow records so far."""
        return read_flows(self._directory / "flows.jsonl")

    def wait_for_flows(
        self, count: int, patience: float = PATIENCE, **wanted: object
    ) -> list[Mapping[str, Any]]:
        """The flow records with these values, once there are *count* of them."""
        found: list[Mapping[str, Any]] = []

        def are_there() -> bool:
            found[:] = [
                flow
                for flow in self.flows()
                if all(flow[key] == value for key, value in wanted.items())
            ]
            return len(found) >= count

        wait_until(are_there, f"{count} records with {wanted}", patience)
        return found


@contextmanager
def running_agent(
    lab: Lab, *, workers: int = 1, env: Mapping[str, str] | None = None
) -> Iterator[Agent]:
    """An agent, without devboxes yet, until the end of the block."""
    directory = Path(tempfile.mkdtemp(dir=lab.directory))
    with (directory / "agent.err").open("w") as errors:
        process = lab.popen_host(
            [
                *(sys.executable, "-m", "tests.attacks.agentdriver"),
                *(str(directory), str(workers)),
            ],
            env=env,
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
