"""Running areas of the suite, and what came of each test."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

from tests.conformance.areas import AREAS, reason_to_exclude
from tests.conformance.suite import Suite

_PATIENCE: Final = 3600.0
#: As the suite says, and warnings of tools that it does not pin are no errors.
_OPTIONS: Final = (
    *("-q", "-p", "no:cacheprovider", "--dist=loadfile", "-m", "smoketest"),
    *("-o", "addopts=", "-W", "default", "--tb=short"),
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one test: `passed`, `failed` or `skipped`, with the message."""

    test: str
    result: str
    message: str = ""


def run_area(
    suite: Suite, area: str, environ: Mapping[str, str], workers: int
) -> list[Outcome]:
    """Run the tests of *area*; the excluded ones are not among the outcomes."""
    files = [name for name in AREAS[area] if (suite.directory / name).exists()]
    if not files:
        return []
    tests = _collect(suite, files, environ)
    deselected = [t for t in tests if reason_to_exclude(t)]
    if len(deselected) == len(tests):
        return []
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch) / "report.xml"
        options = [f"--deselect={test}" for test in deselected]
        done = _pytest(
            suite,
            [*files, *options, "-n", str(workers), f"--junitxml={report}"],
            environ,
            capture=False,
        )
        if not report.exists():
            raise RuntimeError(f"{area}: pytest ended with status {done.returncode}")
        return _read(report)


def _collect(
    suite: Suite, files: Sequence[str], environ: Mapping[str, str]
) -> list[str]:
    done = _pytest(suite, [*files, "--collect-only", "-n", "0"], environ, capture=True)
    tests = [line for line in done.stdout.splitlines() if "::" in line]
    if not tests:
        raise RuntimeError(f"no tests in {', '.join(files)}:\n{done.stdout[-2000:]}")
    return tests


def _pytest(
    suite: Suite, arguments: Sequence[str], environ: Mapping[str, str], *, capture: bool
) -> subprocess.CompletedProcess[str]:
    own = {
        **os.environ,
        "RUN_SMOKETESTS": "1",
        "RUN_EXAMPLE_LIVE_TESTS": "1",
        **environ,
    }
    return subprocess.run(
        (str(suite.python), "-m", "pytest", *_OPTIONS, *arguments),
        cwd=suite.directory,
        env=own,
        stdout=subprocess.PIPE if capture else sys.stderr,
        text=True,
        timeout=_PATIENCE,
        check=False,
    )


def _read(report: Path) -> list[Outcome]:
    outcomes = []
    for case in ET.parse(report).iter("testcase"):
        name = f"{case.get('classname')}::{case.get('name')}"
        result, message = "passed", ""
        for child in case:
            if child.tag in ("failure", "error", "skipped"):
                result = "skipped" if child.tag == "skipped" else "failed"
                message = (child.get("message") or "").partition("\n")[0]
        outcomes.append(Outcome(name, result, message))
    return outcomes
