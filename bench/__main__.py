"""`python -m bench [NAME ...] [--quick] [--strict] [--write-docs]`.

Without names, all benchmarks; one table, raw JSON beside it.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator

from bench import (
    fairness,
    latency,
    names,
    rates,
    report,
    serve,
    start,
    streams,
    updates,
)
from bench.far import servers
from bench.suite import QUICK, Scale
from bench.table import Figure, host_facts, render, save
from tests.lab import Lab

Benchmark = Callable[[Lab, Scale], Iterator[Figure]]
BENCHMARKS: dict[str, Benchmark] = {
    "streams": streams.run,
    "connect": latency.connect,
    "rtt": latency.rtt,
    "connections": rates.connections,
    "http": rates.http,
    "dns": names.dns,
    "datagrams": rates.datagrams,
    "update": updates.update,
    "size": updates.size,
    "memory": updates.memory,
    "fairness": fairness.run,
    "serve": serve.run,
}


def main() -> int:
    """Run what was asked for. With `--strict`, a missed bar is a failure."""
    parser = argparse.ArgumentParser(prog="python -m bench")
    parser.add_argument("names", nargs="*", metavar="NAME",
                        help=f"start, {', '.join(BENCHMARKS)}")  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="fewer, shorter samples")
    parser.add_argument("--strict", action="store_true", help="fail at a missed bar")
    parser.add_argument("--write-docs", action="store_true",
                        help="renew docs/benchmarks.md and its charts")  # fmt: skip
    asked = parser.parse_args()
    unknown = set(asked.names) - {"start", *BENCHMARKS}
    if unknown:
        parser.error(f"no benchmark {', '.join(sorted(unknown))}")
    begin = time.monotonic()
    figures = list(_all(asked.names, QUICK if asked.quick else Scale()))
    print(render(figures))
    facts = ", ".join(f"{key} {value}" for key, value in host_facts().items())
    took = time.monotonic() - begin
    print(f"\n{facts}; {took:.0f} s in all; raw figures: {save(figures)}")
    if asked.write_docs:
        report.write(figures, took)
    missed = [figure for figure in figures if figure.is_missed]
    return 1 if missed and asked.strict else 0


def _all(wanted: list[str], scale: Scale) -> Iterator[Figure]:
    chosen = [name for name in BENCHMARKS if not wanted or name in wanted]
    if not wanted or "start" in wanted:
        yield from _told(start.run())
    if not chosen:
        return
    with Lab() as lab, servers(lab):
        for name in chosen:
            yield from _told(BENCHMARKS[name](lab, scale))


def _told(figures: Iterator[Figure]) -> Iterator[Figure]:
    """The figures, each shown as soon as it is there."""
    for figure in figures:
        print(
            f"  {figure.benchmark}: {figure.contender} {figure.value:.4g} {figure.unit}",
            file=sys.stderr,
        )
        yield figure


if __name__ == "__main__":
    sys.exit(main())
