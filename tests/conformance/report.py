"""The table of `docs/compatibility.md`: made by a run, not by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.conformance.areas import EXCLUDED, LEFT_OUT
from tests.conformance.run import Outcome
from tests.conformance.suite import ROOT

DOCUMENT = ROOT / "docs" / "compatibility.md"
_BEGIN = "<!-- made by `make conformance`: begin -->"
_END = "<!-- made by `make conformance`: end -->"

Results = Mapping[str, Mapping[str, Sequence[Outcome]]]


def render(results: Results) -> str:
    """The tables, from the outcomes by version and area."""
    lines = [
        "| client | area | tests | passed | failed | skipped |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for version, areas in results.items():
        for area, outcomes in areas.items():
            counts = [
                sum(outcome.result == result for outcome in outcomes)
                for result in ("passed", "failed", "skipped")
            ]
            numbers = " | ".join(str(n) for n in (len(outcomes), *counts))
            lines.append(f"| {version} | {area} | {numbers} |")
    lines += ["", "Not run:", "", "| tests | why |", "| --- | --- |"]
    left = {f"area “{area}”": why for area, why in LEFT_OUT.items()}
    single = {f"`{pattern}`": why for pattern, why in EXCLUDED.items()}
    lines += [f"| {what} | {why} |" for what, why in {**left, **single}.items()]
    return "\n".join(lines)


def write(results: Results, path: Path = DOCUMENT) -> None:
    """Put the tables into the document, in place of those of the last run."""
    text = path.read_text(encoding="utf-8")
    before, found, rest = text.partition(_BEGIN)
    _, ended, after = rest.partition(_END)
    if not found or not ended:
        raise ValueError(f"{path}: the marks are missing")
    path.write_text(
        f"{before}{_BEGIN}\n\n{render(results)}\n\n{_END}{after}", encoding="utf-8"
    )
