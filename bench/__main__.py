"""`python -m bench [--strict]`: all benchmarks, one table, raw JSON beside it."""

from __future__ import annotations

import sys
import time

from bench import network, start
from bench.table import Figure, host_facts, render, save


def main() -> int:
    """Run everything. With `--strict`, a missed bar is a failure."""
    figures: list[Figure] = []
    begin = time.monotonic()
    for benchmark in (start.run, network.run):
        for figure in benchmark():
            figures.append(figure)
            print(f"  {figure.benchmark}: {figure.contender} {figure.value:.4g} "
                  f"{figure.unit}", file=sys.stderr)  # fmt: skip
    print(render(figures))
    facts = ", ".join(f"{key} {value}" for key, value in host_facts().items())
    print(
        f"\n{facts}; {time.monotonic() - begin:.0f} s in all; raw figures: {save(figures)}"
    )
    missed = [figure for figure in figures if figure.is_missed]
    return 1 if missed and "--strict" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
