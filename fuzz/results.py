"""What a run said of itself, the table it prints, and the totals that are kept.

`python -m fuzz.results` shows the totals; `--add FILE` adds those of another checkout, and
`--write-docs` puts them into `docs/fuzzing.md`.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TOTALS = Path(__file__).with_name("totals.json")
DOCS = Path(__file__).parents[1] / "docs" / "fuzzing.md"
#: What the table of all inputs stands between.
BEGIN, END = "<!-- python -m fuzz.results --write-docs -->\n", "<!-- end -->\n"

#: By day, then by target: how many inputs, and how many findings.
Totals = dict[str, dict[str, dict[str, int]]]
_NONE = {"inputs": 0, "findings": 0}

_FOUND = {
    "inputs": re.compile(r"stat::number_of_executed_units:\s+(\d+)"),
    "rate": re.compile(r"stat::average_exec_per_sec:\s+(\d+)"),
    "new": re.compile(r"stat::new_units_added:\s+(\d+)"),
    "edges": re.compile(r"cov: (\d+)"),
}
_CRASH = re.compile(r"Test unit written to (\S+)")
_INTERRUPTED = "libFuzzer: run interrupted"


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

    @property
    def has_finding(self) -> bool:
        """Whether the run ended with a finding."""
        return bool(self.problem)


def read_log(target: str, log: str, status: int) -> Result:
    """Read what libFuzzer wrote.

    A run that failed without an input is a problem, too, unless somebody ended it.
    """
    numbers = {
        name: int(found[-1]) if (found := pattern.findall(log)) else 0
        for name, pattern in _FOUND.items()
    }
    crash = _CRASH.search(log)
    problem = ""
    if status and (crash or _INTERRUPTED not in log):
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


def add_to_totals(
    results: list[Result], date: str, path: Path = TOTALS, docs: Path | None = None
) -> None:
    """Add the inputs of a run to those of all runs of that day."""
    said = {
        r.target: {"inputs": r.inputs, "findings": int(r.has_finding)} for r in results
    }
    merge_totals({date: said}, path, docs)


def merge_totals(other: Totals, path: Path = TOTALS, docs: Path | None = None) -> None:
    """Add what *other* counts, whoever else is adding at this moment.

    The table in *docs* is written anew with it, so that both are always the same.
    """
    with _alone(path):
        days = _read(path)
        for date, targets in other.items():
            day = days.setdefault(date, {})
            for target, counted in targets.items():
                total = day.setdefault(target, dict(_NONE))
                for what, number in counted.items():
                    total[what] += number
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(days, indent=1) + "\n")
        partial.replace(path)
        if docs is not None:
            docs.write_text(with_totals(docs.read_text(), render_totals(path)))


def _read(path: Path) -> Any:
    return json.loads(path.read_text()) if path.exists() else {}


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold the folder of *path*, against other runs that end now."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def inputs_of(target: str, path: Path = TOTALS) -> int:
    """How many inputs *target* has had."""
    return sum(day.get(target, _NONE)["inputs"] for day in _read(path).values())


def render_totals(path: Path = TOTALS) -> str:
    """How many inputs each target has had, as a table for `docs/fuzzing.md`."""
    days: Totals = _read(path)
    rows: list[tuple[str, ...]] = [("target", "inputs", "findings", "last run")]
    for target in sorted({target for day in days.values() for target in day}):
        findings = sum(day.get(target, _NONE)["findings"] for day in days.values())
        last = max(date for date, day in days.items() if target in day)
        rows.append(
            (f"`{target}`", f"{inputs_of(target, path):,}", str(findings), last)
        )
    return _aligned(rows)


def with_totals(text: str, table: str) -> str:
    """*text* with *table* where the table of all inputs belongs."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError("no place for the table of all inputs")
    return f"{before}{begin}\n{table}\n\n{end}{after}"


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


def main() -> None:
    """Do what the arguments say."""
    parser = argparse.ArgumentParser(prog="python -m fuzz.results")
    parser.add_argument("--add", type=Path, metavar="FILE", help="totals of other runs")
    parser.add_argument("--write-docs", action="store_true")
    options = parser.parse_args()
    added = {} if options.add is None else _read(options.add)
    if added or options.write_docs:
        merge_totals(added, docs=DOCS)
    print(render_totals())


if __name__ == "__main__":
    main()
