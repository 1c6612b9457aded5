"""Getting the suite: a virtual environment with a client, and the tests it ships."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
CACHE: Final = ROOT / ".conformance"
PACKAGE: Final = "runloop_api_client"
#: What the tests import besides the client.
_TOOLS: Final = (
    "pytest pytest-asyncio pytest-timeout pytest-xdist respx dirty-equals time-machine"
    " httpx-aiohttp"
).split()
# A package index that is slow is no failure of ours.
_PATIENCE: Final = 900.0


class Unobtainable(Exception):
    """The suite cannot be had here: there is no package index, most likely."""


@dataclass(frozen=True, slots=True)
class Suite:
    """One version of the client, and the tests that came with it."""

    version: str
    directory: Path
    python: Path


def obtain(version: str) -> Suite:
    """The suite of *version*, from the cache or the package index."""
    place = CACHE / version
    suite = Suite(version, place / "source", place / "venv" / "bin" / "python")
    if not (place / "complete").exists():
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        _install(version, place / "venv")
        _unpack(version, place)
        (place / "complete").touch()
    return suite


def _install(version: str, venv: Path) -> None:
    _run(sys.executable, "-m", "venv", str(venv))
    pip = str(venv / "bin" / "pip")
    _run(pip, "install", "--quiet", f"{PACKAGE}=={version}", *_TOOLS)


def _unpack(version: str, place: Path) -> None:
    """Unpack the source distribution without its sources: the wheel is what is tested."""
    pip = str(place / "venv" / "bin" / "pip")
    with tempfile.TemporaryDirectory() as scratch:
        _run(
            *(pip, "download", "--quiet", "--no-deps", "--no-binary", ":all:"),
            *("--dest", scratch, f"{PACKAGE}=={version}"),
        )
        (archive,) = Path(scratch).glob("*.tar.gz")
        with tarfile.open(archive) as tar:
            tar.extractall(scratch, filter="data")
        (top,) = (path for path in Path(scratch).iterdir() if path.is_dir())
        shutil.rmtree(top / "src")
        shutil.move(top, place / "source")


def _run(*argv: str) -> None:
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=_PATIENCE, check=False
        )
    except subprocess.TimeoutExpired:
        raise Unobtainable(f"{' '.join(argv)}: took too long") from None
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or "?").splitlines()[-1]
        raise Unobtainable(f"{' '.join(argv[:3])} …: {last}")
