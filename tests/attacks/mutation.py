"""Proves that the attack suite can fail: `python -m tests.attacks.mutation`.

Runs the suite against a gateway whose one decision is forced. With every verdict *allow*,
each test of a denial has to fail; with every verdict *deny*, each control has to. A test
that passes under both proves nothing, and is named.

The product has no switch for this. The gateway process is started with the interpreter of
the suite, so a `sitecustomize` in a directory of its own, which only this program puts on
the path, replaces `stockade.policy.decide.decide` when that module is imported.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HOOK = """
import importlib.abc, importlib.machinery, sys

class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != "stockade.policy.decide" or "stockade.cli.gateway" not in sys.orig_argv:
            return None
        sys.meta_path.remove(self)
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        run = spec.loader.exec_module
        def exec_module(module):
            run(module)
            forced = module.Decision(module.Verdict.{verdict}, module.Reason.{reason})
            module.decide = lambda policy, guardrails, flow: forced
        spec.loader.exec_module = exec_module
        return spec

sys.meta_path.insert(0, Finder())
"""
VERDICTS = {"ALLOW": "ALLOW_ALL", "DENY": "HOSTNAME_NOT_ALLOWED"}
# Judged before there is a gateway, or by the kernel alone.
ELSEWHERE = re.compile(
    r"refused_before_anything_runs|cannot_be_read_starts_nothing|lab_would_have_seen"
    r"|test_isolation_|test_protocols_raw"
)


def main() -> int:
    """Run both mutations and report the tests that notice neither."""
    arguments = sys.argv[1:] or ["tests/attacks"]
    passed = {verdict: run(verdict, arguments) for verdict in VERDICTS}
    blind = sorted(
        test for test in passed["ALLOW"] & passed["DENY"] if not ELSEWHERE.search(test)
    )
    for verdict, tests in passed.items():
        print(f"forced to {verdict}: {len(tests)} tests still pass")
    for test in blind:
        print(f"passes under both: {test}")
    print(f"{len(blind)} tests would not notice a broken gateway")
    return 1 if blind else 0


def run(verdict: str, arguments: list[str]) -> set[str]:
    """The tests that pass with every verdict forced."""
    with tempfile.TemporaryDirectory() as directory:
        hook = HOOK.replace("{verdict}", verdict).replace("{reason}", VERDICTS[verdict])
        Path(directory, "sitecustomize.py").write_text(hook)
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-rA", "-p", "no:cacheprovider",
             "-n", "2", "--dist", "loadfile", *arguments],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": f"{directory}:{ROOT}"},
            capture_output=True,
            text=True,
            check=False,
        )  # fmt: skip
    if not re.search(r"\d+ (passed|failed)", done.stdout):
        raise SystemExit(f"the suite did not run:\n{done.stdout}{done.stderr}")
    return set(re.findall(r"^PASSED (\S+)", done.stdout, re.MULTILINE))


if __name__ == "__main__":
    sys.exit(main())
