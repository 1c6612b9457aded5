"""Figures, bars, and how they are shown and kept."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

RESULTS = Path(__file__).with_name("results")
_CONGESTION = Path("/proc/sys/net/ipv4/tcp_congestion_control")


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table: what was measured, of whom, and how it compares.

    *ratio* is against the contender named in *against*, or a difference in *unit*; *bar*
    is what it has to be ("≥ 0.9"), empty for information. *cpu* is the processor time of
    whoever is in between, in microseconds for one unit of work. A figure that could not
    be had has a *note* that says why, and no value.
    """

    benchmark: str
    contender: str
    value: float
    unit: str
    against: str = ""
    ratio: float | None = None
    bar: str = ""
    samples: tuple[float, ...] = ()
    note: str = ""
    cpu: float | None = None

    @property
    def is_missed(self) -> bool:
        """Whether there is a bar that the figure does not reach."""
        if not self.bar or self.ratio is None:
            return False
        sign, limit = self.bar.split()[:2]
        return self.ratio < float(limit) if sign == "≥" else self.ratio > float(limit)


def median(samples: Sequence[float]) -> float:
    """The middle of the samples."""
    return statistics.median(samples)


def compared(
    figure: Figure,
    value: float,
    against: str,
    *,
    bar: str = "",
    difference: bool = False,
) -> Figure:
    """*figure* beside that of somebody else: the ratio, or the difference, of both."""
    if difference:
        return replace(figure, ratio=figure.value - value, against=against, bar=bar)
    return replace(figure, ratio=figure.value / value, against=against, bar=bar)


def render(figures: Iterable[Figure]) -> str:
    """The table, for a terminal and for Markdown alike."""
    rows = [("benchmark", "contender", "median", "compared", "bar", "", "cpu")]
    for figure in figures:
        beside = ""
        if figure.ratio is not None:
            beside = f"{figure.ratio:.2f} {figure.against}"
        verdict = (
            ("MISSED" if figure.is_missed else "ok") if figure.bar else figure.note
        )
        rows.append(
            (
                figure.benchmark,
                figure.contender,
                f"{figure.value:,.4g} {figure.unit}" if figure.value else "-",
                beside,
                figure.bar,
                verdict,
                f"{figure.cpu:,.3g} µs" if figure.cpu else "",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in rows]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def host_facts() -> dict[str, object]:
    """What the figures depend on."""
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "processors": os.cpu_count(),
        "python": platform.python_version(),
        "load": os.getloadavg(),
        "congestion control": _CONGESTION.read_text().strip(),
    }


def save(figures: Iterable[Figure]) -> Path:
    """Write the raw figures, with the facts of the host, as JSON."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{time.strftime('%Y%m%d-%H%M%S')}.json"
    content = {"host": host_facts(), "figures": [asdict(f) for f in figures]}
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False))
    return path
