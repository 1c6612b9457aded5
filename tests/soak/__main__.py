"""Runs a soak and says what grew: `python -m tests.soak --minutes 60`.

Prints a table; writes the samples to `bench/results/soak.json`, with `--chart` the drawing,
and with `--write-docs` the run into `docs/soak.md`. Exits with 1 when
anything grew, stayed or went wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from tests.lab import Lab
from tests.lab.stockade import build_default_image
from tests.soak import report
from tests.soak.chart import draw
from tests.soak.growth import table
from tests.soak.samples import Sample
from tests.soak.soak import Plan, soak

ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    """Run the soak that the arguments describe."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--every", type=float, default=10.0, help="seconds")
    parser.add_argument("--chart", type=Path, help="write the drawing here")
    parser.add_argument("--write-docs", action="store_true")
    parser.add_argument(
        "--results", type=Path, default=ROOT / "bench" / "results" / "soak.json"
    )
    chosen = parser.parse_args()
    build_default_image()
    plan = Plan(chosen.minutes * 60, every=chosen.every)
    with Lab() as lab:
        result = asyncio.run(soak(lab, plan, _tell))
    chosen.results.parent.mkdir(parents=True, exist_ok=True)
    raw = {
        "samples": [asdict(sample) for sample in result.samples],
        "verdicts": [asdict(verdict) for verdict in result.verdicts],
        "done": result.done,
        "used": result.used,
        "failures": result.failures,
    }
    chosen.results.write_text(json.dumps(raw, indent=1) + "\n")
    if chosen.chart is not None:
        title = f"A soak of {chosen.minutes:g} minutes"
        chosen.chart.parent.mkdir(parents=True, exist_ok=True)
        chosen.chart.write_text(draw(result.samples, title))
    if chosen.write_docs:
        report.write(raw, datetime.now(UTC).date().isoformat())
    print(table(result.verdicts))
    for what, count in sorted(result.done.items()):
        print(f"{count:8} {what}")
    print(f"cores used: agent {result.used[0]:.2f}, soak {result.used[1]:.2f}")
    for failure in result.failures:
        print(f"FAILED: {failure}")
    return 1 if result.failures else 0


def _tell(sample: Sample) -> None:
    shown = ("flows", "devboxes", "gateway rss", "gateway sockets", "gateway pipes")
    counts = ", ".join(f"{sample.values[key]:.0f} {key}" for key in shown)
    print(f"{sample.seconds:6.0f} s, gateway {sample.life + 1}: {counts}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
