"""`python -m tests.conformance`: run the suite against a server started for it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from tests.conformance import report
from tests.conformance.areas import AREAS, LEFT_OUT, OLDER
from tests.conformance.run import Outcome, run_area
from tests.conformance.suite import Unobtainable, obtain
from tests.lab.serving import Server
from tests.lab.stockade import build_default_image

VERSION = "3.0.0"
OLDER_VERSION = "1.32.0"
_SKIPPED = 77


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; 0 when all passed, 77 when the suite cannot be had."""
    options = _options(arguments)
    chosen = options.area or [area for area in AREAS if area not in LEFT_OUT]
    plan = {VERSION: chosen}
    if not options.area:
        plan[OLDER_VERSION] = list(OLDER)
    try:
        suites = {version: obtain(version) for version in plan}
    except Unobtainable as error:
        print(f"skipped: the suite cannot be had: {error}", file=sys.stderr)
        return _SKIPPED
    build_default_image()
    failed = 0
    for turn in range(options.runs):
        results: dict[str, dict[str, list[Outcome]]] = {}
        with Server() as server:
            for version, areas in plan.items():
                results[version] = {}
                for area in areas:
                    print(f"== {version}: {area} ({turn + 1})", file=sys.stderr)
                    outcomes = run_area(
                        suites[version], area, server.variables(), options.workers
                    )
                    results[version][area] = outcomes
                    failed += _tell(outcomes)
    print(report.render(results))
    if options.write:
        report.write(results)
    return 1 if failed else 0


def _tell(outcomes: Sequence[Outcome]) -> int:
    """Name what failed; how many did."""
    failed = [outcome for outcome in outcomes if outcome.result == "failed"]
    for outcome in failed:
        print(f"FAILED {outcome.test}: {outcome.message}", file=sys.stderr)
    return len(failed)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance")
    parser.add_argument(
        "--area", action="append", choices=[*AREAS], help="only this area; repeatable"
    )
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--runs", type=int, default=1, help="how often, each anew")
    parser.add_argument(
        "--write", action="store_true", help="write the table of docs/compatibility.md"
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
