"""Writes what a soak found into `docs/soak.md`, between its markers."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.soak.growth import NOT_COUNTED

PAGE = Path(__file__).resolve().parents[2] / "docs" / "soak.md"
BEGIN, END = "<!-- soak: begin -->", "<!-- soak: end -->"


def write(raw: Mapping[str, Any], day: str, page: Path = PAGE) -> None:
    """Put a run, as its raw JSON has it, on the page; the text around it stays."""
    before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{page} has no place for a soak")
    text = f"{before}{BEGIN}\n\n{render(raw, day)}\n\n{END}{after}"
    page.write_text(text, encoding="utf-8")


def render(raw: Mapping[str, Any], day: str) -> str:
    """What happened, what was counted, and what was wrong."""
    minutes = raw["samples"][-1]["seconds"] / 60
    done = [f"{count:,} {what}" for what, count in sorted(raw["done"].items())]
    wrong = raw["failures"] or ["nothing grew, nothing was left, nothing went wrong"]
    return "\n".join(
        [
            f"{day}, Linux {platform.release()}, {minutes:.0f} minutes:",
            "; ".join(done) + ".",
            "",
            *_table(raw["verdicts"]),
            "",
            *(f"- {line}" for line in wrong),
        ]
    )


def _table(verdicts: list[Mapping[str, Any]]) -> list[str]:
    """A row for each count: at rest, in the churn, how it grew, at rest again."""
    lines = [
        "| | before | most | growth | may grow | after |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for verdict in verdicts:
        key, bound = verdict["key"], verdict["bound"]
        if key not in NOT_COUNTED:
            lines.append(
                f"| {key} | {verdict['before']:.4g} | {verdict['most']:.4g} | "
                f"{verdict['growth']:.2f} | {bound:g} | {verdict['after']:.4g} |"
            )
    return lines
