"""`python -m fuzz.run`: run targets one after the other, print a table, fail at a finding.

What is kept between runs and not in the repository: `fuzz/found` (inputs that reached
something new; `python -m fuzz.minimise` takes what is worth keeping into `fuzz/corpus`)
and `fuzz/crashes`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from fuzz.catalog import TARGETS
from fuzz.results import Result, add_to_totals, read_log, render
from fuzz.target import Target

HERE = Path(__file__).parent
CORPUS, FOUND, CRASHES = HERE / "corpus", HERE / "found", HERE / "crashes"
#: Inputs of the quickest target in a run that names no number: some seconds a target.
DEFAULT_RUNS = 600_000


def fuzz(target: Target, runs: int) -> Result:
    """Run one target from its seeds, its corpus and what earlier runs left."""
    found, corpus = FOUND / target.name, CORPUS / target.name
    for folder in (found, corpus, CRASHES):
        folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        seeds, words = Path(name) / "seeds", Path(name) / "words"
        seeds.mkdir()
        for index, seed in enumerate(target.seeds):
            (seeds / str(index)).write_bytes(seed)
        words.write_text("".join(map(_quoted, target.words)))
        argv = [sys.executable, "-m", "fuzz.engine", target.name]
        argv += [f"-runs={runs}", f"-max_len={target.max_len}", f"-dict={words}"]
        argv += ["-timeout=60", "-print_final_stats=1"]
        argv += [f"-artifact_prefix={CRASHES / target.name}-"]
        argv += map(str, (found, corpus, seeds))
        done = subprocess.run(
            argv, cwd=HERE.parent, capture_output=True, text=True, errors="replace",
            check=False,
        )  # fmt: skip
    return read_log(target.name, done.stdout + done.stderr, done.returncode)


def _quoted(word: bytes) -> str:
    return '"' + "".join(f"\\x{octet:02x}" for octet in word) + '"\n'


def _report(result: Result) -> Result:
    print(f"  {result.target}: {result.inputs:,} inputs", file=sys.stderr, flush=True)
    if result.problem:
        print(f"{result.target}: {result.problem}")
        if result.crash is not None:
            print(f"  again: python -m fuzz {result.target} {result.crash}")
    return result


def main() -> int:
    """Run what the arguments say; 1 when there was a finding."""
    parser = argparse.ArgumentParser(prog="python -m fuzz.run")
    parser.add_argument("targets", nargs="*", metavar="TARGET")
    parser.add_argument("--runs", type=int, default=0, help="inputs for each target")
    parser.add_argument("--jobs", type=int, default=1, help="targets at a time")
    parser.add_argument("--save", action="store_true", help="add to fuzz/totals.json")
    options = parser.parse_args()
    unknown = set(options.targets) - set(TARGETS)
    if unknown:
        parser.error(f"no target {unknown.pop()}; there are {' '.join(TARGETS)}")
    targets = [TARGETS[name] for name in options.targets or TARGETS]

    def one(target: Target) -> Result:
        runs = options.runs or int(DEFAULT_RUNS / target.cost)
        result = _report(fuzz(target, runs))
        if options.save:
            add_to_totals([result], datetime.now(UTC).date().isoformat())
        return result

    with ThreadPoolExecutor(options.jobs) as pool:
        results = list(pool.map(one, targets))
    print(render(results))
    return int(any(result.problem for result in results))


if __name__ == "__main__":
    sys.exit(main())
