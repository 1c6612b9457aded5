"""Proves that the attack suite can fail: `python -m tests.attacks.mutation [FILES]`.

Runs each file of the suite against a Stockade that lacks something, see `mutants`: with
the gateway's one decision forced to *allow* each test of a denial has to fail, with it
forced to *deny* each control. What another layer denies is tried without that layer. A
test that nothing kills proves nothing, and is named.

Runs one file after the other on less than a core. What is known is kept in
`.mutation.json`, by the content of the file, so that a run may be broken off and taken
up again; a test is run again when its file has changed, or with `--again`. With
`--write-docs` all that is known is told in `docs/mutation.md`. Exits with 1 when a test is
not proven.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from stockade.runtime import removal
from tests.attacks.mutants import HOOK, MUTANTS, VARIABLE
from tests.attacks.mutation_report import Proof, render, verdicts
from tests.lab.lab import RUN_DIR

ROOT: Final = Path(__file__).resolve().parents[2]
SUITE: Final = ROOT / "tests" / "attacks"
#: What has to pass whatever layer is missing, but for the decision.
ORDINARY: Final = SUITE / "test_ordinary.py"
REPORT: Final = ROOT / "docs" / "mutation.md"
#: A mutated gateway makes tests wait for what does not come.
TEST_SECONDS: Final = 90
NONE: Final = "none"
OUTCOME: Final = re.compile(r"^(PASSED|FAILED|ERROR) (\S.*?)(?: - .*)?$", re.MULTILINE)

Ran = dict[str, bool]


class Ledger:
    """What is known: for each test, whether it passed without this or that."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, dict[str, dict[str, bool]]] = (
            json.loads(path.read_text()) if path.exists() else {}
        )

    def of(self, file: Path) -> dict[str, dict[str, bool]]:
        """By test, by mutant: passed or not; nothing once the file has changed."""
        return self._known.setdefault(self._key(file), {})

    def note(self, file: Path, mutant: str, ran: Ran) -> None:
        """Remember a run."""
        for test, passed in ran.items():
            self.of(file).setdefault(test, {})[mutant] = passed
        self._path.write_text(json.dumps(self._known, indent=1, sort_keys=True) + "\n")

    def forget(self, file: Path) -> None:
        """Know nothing of a file."""
        self._known.pop(self._key(file), None)

    @staticmethod
    def _key(file: Path) -> str:
        digest = hashlib.sha256(file.read_bytes()).hexdigest()[:16]
        return f"{file.relative_to(SUITE)} {digest}"


def main() -> int:
    """Run what is not known yet and report."""
    parser = argparse.ArgumentParser(prog="python -m tests.attacks.mutation")
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--again", action="store_true", help="forget what is known")
    parser.add_argument("--only-report", action="store_true", help="run nothing")
    parser.add_argument("--results", type=Path, default=ROOT / ".mutation.json")
    parser.add_argument("--write-docs", action="store_true")
    chosen = parser.parse_args()
    every = sorted(SUITE.rglob("test_*.py"))
    ledger = Ledger(chosen.results)
    for file in [path.resolve() for path in chosen.files] or every:
        if chosen.again:
            ledger.forget(file)
        if not chosen.only_report:
            prove(ledger, file)
    proofs = list(known(ledger, every))
    if chosen.write_docs:
        REPORT.write_text(render(proofs))
    found = verdicts(proofs)
    print(f"{len(proofs)} tests, {len(found)} not proven")
    for line in found:
        print(line)
    return 1 if found else 0


def known(ledger: Ledger, files: Iterable[Path]) -> Iterator[Proof]:
    """What is known of each test in *files*; of those that were never run, that."""
    for file in files:
        if file != ORDINARY:
            ran = ledger.of(file) or {f"{file.relative_to(ROOT)}::*": {}}
            for test, by in ran.items():
                yield proof_of(test, by)


def prove(ledger: Ledger, file: Path) -> None:
    """Find out what kills each test of *file*."""
    if file == ORDINARY:
        return
    tests = collected(file)
    for gone in ledger.of(file).keys() - set(tests):
        del ledger.of(file)[gone]
    step(ledger, file, NONE, tests)
    again(ledger, file, NONE, tests)
    for first in ("allow", "deny"):
        step(ledger, file, first, tests)
    ran = ledger.of(file)
    for name, mutant in MUTANTS.items():
        if name in ("allow", "deny") or not re.search(mutant.where, file.name):
            continue
        left = [t for t in tests if not is_settled(t, ran.get(t, {}))]
        if left and is_viable(ledger, name):
            step(ledger, file, name, left)


def is_viable(ledger: Ledger, mutant: str) -> bool:
    """Whether a mutant leaves what is ordinary as it is, or says nothing by killing."""
    tests = collected(ORDINARY)
    step(ledger, ORDINARY, mutant, tests)
    broken = again(ledger, ORDINARY, mutant, tests)
    if broken:
        print(f"{mutant} breaks what is allowed: {broken[0]}", flush=True)
    return not broken


def again(ledger: Ledger, file: Path, mutant: str, tests: Sequence[str]) -> list[str]:
    """Run once more, and alone, what should have passed; the tests that still fail.

    A busy machine is late now and then. What is missing is missing each time.
    """
    known = ledger.of(file)
    for test in tests:
        if not known.get(test, {}).get(mutant, True):
            ledger.note(file, mutant, run(mutant, [test]))
    return [test for test in tests if not known.get(test, {}).get(mutant, True)]


def is_settled(test: str, ran: Ran) -> bool:
    """Whether a test is proven, or fails with nothing missing: no mutant is tried on it."""
    proof = proof_of(test, ran)
    return NONE in proof.killed or proof.problem is None


def proof_of(test: str, ran: Ran) -> Proof:
    """What the runs of a test, by mutant, prove."""
    killed = frozenset(mutant for mutant, passed in ran.items() if not passed)
    return Proof(test, killed, set(ran))


def step(ledger: Ledger, file: Path, mutant: str, tests: Sequence[str]) -> None:
    """Run those of *tests* for which it is not known yet what *mutant* does."""
    known = ledger.of(file)
    wanted = [test for test in tests if mutant not in known.get(test, {})]
    if wanted:
        ran = run(mutant, wanted)
        failed = sum(not passed for passed in ran.values())
        print(f"{file.name}, {mutant}: {failed} of {len(wanted)} fail", flush=True)
        ledger.note(file, mutant, ran)


def collected(file: Path) -> list[str]:
    """The tests in a file."""
    done = pytest(["--collect-only", "-q", str(file)], {})
    return re.findall(r"^(tests/.*::.*)$", done.stdout, re.MULTILINE)


def run(mutant: str, tests: Sequence[str]) -> Ran:
    """Run tests without what *mutant* lacks; whether each passed."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory, "sitecustomize.py").write_text(HOOK)
        path = f"{directory}:{os.environ.get('PYTHONPATH', '')}:{ROOT}"
        extra = {"PYTHONPATH": path}
        if mutant != NONE:
            extra[VARIABLE] = mutant
        done = pytest(
            ["-q", "-rA", "--tb=no", f"--timeout={TEST_SECONDS}", *tests], extra
        )
    sweep_the_dead()
    outcomes = {test: word for word, test in OUTCOME.findall(done.stdout)}
    if not outcomes:
        raise SystemExit(f"the suite did not run:\n{done.stdout}{done.stderr}")
    return {test: outcomes.get(test) == "PASSED" for test in tests if test in outcomes}


def sweep_the_dead() -> None:
    """Remove the devboxes of suites that are gone: what was missing may be their end."""
    for directory in RUN_DIR.parent.glob(f"{RUN_DIR.name.rpartition('-')[0]}-*"):
        owner = directory.name.rpartition("-")[2]
        if not owner.isdigit() or Path("/proc", owner).exists():
            continue
        removal.sweep(directory)
        if not any(directory.glob("dbx_*")):
            shutil.rmtree(directory)


def pytest(
    arguments: Iterable[str], extra: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run pytest on the suite, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments],
        cwd=ROOT,
        env={**os.environ, **extra},
        capture_output=True,
        text=True,
        check=False,
    )


if __name__ == "__main__":
    sys.exit(main())
