"""What a run said of itself, the table it prints, and the totals that are kept."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

TOTALS = Path(__file__).with_name("totals.json")

_FOUND = {
    "inputs": re.compile(r"stat::number_of_executed_units:\s+(\d+)"),
    "rate": re.compile(r"stat::average_exec_per_sec:\s+(\d+)"),
    "new": re.compile(r"stat::new_units_added:\s+(\d+)"),
    "edges": re.compile(r"cov: (\d+)"),
}
_CRASH = re.compile(r"Test unit written to (\S+)")


@dataclass(frozen=True, slots=True)
class Result:
    """One run of one target. *crash* is the file with the input that ended it."""

    target: str
    inputs: int
    rate: int
    edges: int
    new: int
    crash: str | None
    problem: str = ""


def read_log(target: str, log: str, status: int) -> Result:
    """Read what libFuzzer wrote. A run that failed without an input is a problem, too."""
    numbers = {
        name: int(found[-1]) if (found := pattern.findall(log)) else 0
        for name, pattern in _FOUND.items()
    }
    crash = _CRASH.search(log)
    problem = ""
    if status:
        lines = [line for line in log.splitlines() if line and line[0] not in "#= ["]
        told = [line for line in lines if "Finding" in line or "Error" in line]
        problem = (told or lines[-1:] or ["it said nothing"])[0][:300]
    return Result(target, **numbers, crash=crash[1] if crash else None, problem=problem)


def render(results: list[Result]) -> str:
    """The table of a run, for a terminal and for Markdown alike."""
    rows: list[tuple[str, ...]] = [
        ("target", "inputs", "a second", "edges", "new", "findings")
    ]
    for result in results:
        numbers = (result.inputs, result.rate, result.edges, result.new)
        shown = (f"{number:,}" for number in numbers)
        rows.append((result.target, *shown, "1" if result.problem else "none"))
    return _aligned(rows)


def add_to_totals(results: list[Result], date: str, path: Path = TOTALS) -> None:
    """Add the inputs of a run to those of all runs of that day."""
    days = json.loads(path.read_text()) if path.exists() else {}
    day = days.setdefault(date, {})
    for result in results:
        total = day.setdefault(result.target, {"inputs": 0, "findings": 0})
        total["inputs"] += result.inputs
        total["findings"] += bool(result.problem)
    path.write_text(json.dumps(days, indent=1) + "\n")


def render_totals(path: Path = TOTALS) -> str:
    """All totals as a table, for `docs/fuzzing.md`."""
    rows = [("date", "target", "inputs")]
    for date, day in json.loads(path.read_text()).items():
        rows += [
            (date, target, f"{total['inputs']:,}") for target, total in day.items()
        ]
    return _aligned(rows)


def _aligned(rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "| "
        + " | ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True))
        + " |"
        for row in rows
    ]
    lines.insert(1, "| " + " | ".join("-" * width for width in widths) + " |")
    return "\n".join(lines)
