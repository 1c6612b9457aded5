"""Runs a piece of Python inside a devbox and brings back what it printed, as JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.lab.stockade import Run, Stockade
from tests.lab.witness import Destination

_FRAME = """
import json, os, socket, struct, subprocess, sys, time
def tried(call, *args):
    started = time.monotonic()
    try:
        said = call(*args)
    except OSError as error:
        said = type(error).__name__ + f" {error.errno}"
    return {"said": said, "seconds": time.monotonic() - started}
"""


@dataclass(frozen=True, slots=True)
class Report:
    """What the code printed, the run it was in, and what arrived outside meanwhile."""

    value: Any
    run: Run
    packets: Counter[Destination]

    @property
    def reasons(self) -> set[str]:
        """The reasons of all denials on record."""
        return {flow["reason"] for flow in self.run.flows if flow["verdict"] == "deny"}

    def denied(self, address: str, port: int) -> set[str]:
        """The reasons of the denials of one destination."""
        return {
            flow["reason"]
            for flow in self.run.flows
            if flow["verdict"] == "deny"
            and (flow["address"], flow["port"]) == (address, port)
        }


def run_inside(
    stockade: Stockade,
    code: str,
    *,
    policy: str | Mapping[str, Any] | None = None,
    options: Sequence[str] = (),
    arguments: object = None,
    timeout: float = 60.0,
) -> Report:
    """Run *code*, which sets `result`; it finds *arguments* in `given`."""
    script = (
        f"{_FRAME}given = json.loads({json.dumps(arguments)!r})\n"
        f"{code}\nprint(json.dumps(result))\n"
    )
    before = stockade.lab.packets()
    run = stockade.run(
        *options, "--", "python3", "-c", script, policy=policy, timeout=timeout
    )
    assert run.returncode == 0, run.stderr
    return Report(
        json.loads(run.stdout.splitlines()[-1]), run, stockade.lab.packets() - before
    )
