"""`python -m fuzz.run`: run targets one after the other, print a table, fail at a finding.

What is kept between runs and not in the repository: `fuzz/found` (inputs that reached
something new; `python -m fuzz.minimise` takes what is worth keeping into `fuzz/corpus`)
and `fuzz/crashes`.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from fuzz.catalog import TARGETS
from fuzz.results import DOCS, Result, add_to_totals, inputs_of, read_log, render
from fuzz.target import Target

HERE = Path(__file__).parent
CORPUS, FOUND, CRASHES = HERE / "corpus", HERE / "found", HERE / "crashes"
#: Inputs of the quickest target in a run that names no number: some seconds a target.
DEFAULT_RUNS = 600_000


def fuzz(target: Target, runs: int, seconds: int = 0) -> Result:
    """Run one target from its seeds, its corpus and what earlier runs left.

    It ends after *runs* inputs, or after *seconds* if that is a number.
    """
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
        argv += [f"-max_total_time={seconds}", "-timeout=60", "-print_final_stats=1"]
        argv += [f"-artifact_prefix={CRASHES / target.name}-"]
        argv += map(str, (found, corpus, seeds))
        log, status = _run(argv)
    return read_log(target.name, log, status)


def _run(argv: list[str]) -> tuple[str, int]:
    """Run the fuzzer; what it wrote and its status. An interrupted one tells, too."""
    with subprocess.Popen(
        argv, cwd=HERE.parent, text=True, errors="replace", start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as fuzzer:  # fmt: skip
        _running.append(fuzzer)
        log, _ = fuzzer.communicate()
        _running.remove(fuzzer)
    return log, fuzzer.returncode


_running: list[subprocess.Popen[str]] = []
_stopped = threading.Event()


def _stop(_signal: int, _frame: object) -> None:
    """Let the fuzzer say how far it came and end, and begin no other target."""
    _stopped.set()
    for fuzzer in _running:
        fuzzer.send_signal(signal.SIGUSR1)


def _quoted(word: bytes) -> str:
    return '"' + "".join(f"\\x{octet:02x}" for octet in word) + '"\n'


def _report(result: Result) -> Result:
    print(f"  {result.target}: {result.inputs:,} inputs", file=sys.stderr, flush=True)
    if result.problem:
        print(f"{result.target}: {result.problem}")
        if result.crash is not None:
            print(f"  again: python -m fuzz {result.target} {result.crash}")
    return result


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m fuzz.run")
    parser.add_argument("targets", nargs="*", metavar="TARGET")
    parser.add_argument("--runs", type=int, default=0, help="inputs for each target")
    parser.add_argument(
        "--until", type=int, default=0, metavar="N",
        help="inputs for each target that it lacks of N in fuzz/totals.json",
    )  # fmt: skip
    parser.add_argument("--seconds", type=int, default=0, help="for each at most")
    parser.add_argument("--jobs", type=int, default=1, help="targets at a time")
    parser.add_argument("--save", action="store_true", help="add to fuzz/totals.json")
    options = parser.parse_args()
    unknown = set(options.targets) - set(TARGETS)
    if unknown:
        parser.error(f"no target {unknown.pop()}; there are {' '.join(TARGETS)}")
    return options


def _runs(target: Target, options: argparse.Namespace) -> int:
    if options.until:
        return max(0, options.until - inputs_of(target.name))
    return options.runs or int(DEFAULT_RUNS / target.cost)


def main() -> int:
    """Run what the arguments say; 1 when there was a finding."""
    options = _options()
    targets = [TARGETS[name] for name in options.targets or TARGETS]

    def one(target: Target) -> Result | None:
        runs = _runs(target, options)
        if _stopped.is_set() or not runs:
            return None
        result = _report(fuzz(target, runs, options.seconds))
        if options.save:
            day = datetime.now(UTC).date().isoformat()
            add_to_totals([result], day, docs=DOCS)
        return result

    with ThreadPoolExecutor(options.jobs) as pool:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _stop)
        results = [result for result in pool.map(one, targets) if result is not None]
    print(render(results))
    return int(any(result.has_finding for result in results))


if __name__ == "__main__":
    sys.exit(main())
