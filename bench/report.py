"""Writes the generated part of `docs/benchmarks.md`, and its charts."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from bench.charts import bars
from bench.table import Figure, host_facts, render

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGE = DOCS / "benchmarks.md"
CHARTS = DOCS / "charts"
BEGIN, END = "<!-- bench: begin -->", "<!-- bench: end -->"


def write(figures: Sequence[Figure], seconds: float) -> None:
    """Put these figures between the markers; the text around them stays."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    CHARTS.mkdir(exist_ok=True)
    shown = []
    for title, group in groupby(figures, key=lambda figure: figure.benchmark):
        measured = _once(list(group))
        if len(measured) > 1:
            path = CHARTS / f"{slug(title)}.svg"
            path.write_text(bars(title, measured), encoding="utf-8")
            shown.append(f"![{title}](charts/{path.name})")
    facts = host_facts()
    load = facts.pop("load")
    told = ", ".join(f"{key} {value}" for key, value in facts.items())
    text = (
        f"{BEGIN}\n\n{told}; load at the end {load}; {seconds:.0f} s in all.\n\n"
        f"{render(figures)}\n\n" + "\n".join(shown) + f"\n\n{END}"
    )
    PAGE.write_text(before + text + after, encoding="utf-8")


def _once(group: Sequence[Figure]) -> list[Figure]:
    """One figure a contender, the first, of those that have a value."""
    kept: dict[str, Figure] = {}
    for figure in group:
        if figure.value:
            kept.setdefault(figure.contender, figure)
    return list(kept.values())


def slug(title: str) -> str:
    """A file name made of a title."""
    kept = "".join(letter if letter.isalnum() else "-" for letter in title.lower())
    return "-".join(part for part in kept.split("-") if part)
