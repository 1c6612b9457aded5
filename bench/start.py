"""From nothing to nothing: a whole `stockade run -- true`, against `podman run`."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.table import Figure, median

ROUNDS = 15
BAR = "≤ 0.35 s"
STOCKADE = Path(sys.executable).with_name("stockade")


def run() -> Iterator[Figure]:
    """Time both commands, warm, in turn."""
    ours = [str(STOCKADE), "run", "-q", "--", "true"]
    _time(ours)
    with _podman() as (theirs, problem):
        samples: dict[str, list[float]] = {"stockade run": [], "podman run": []}
        for _ in range(ROUNDS):
            samples["stockade run"].append(_time(ours))
            if theirs:
                samples["podman run"].append(_time(theirs))
    value = median(samples["stockade run"])
    yield Figure(
        "start, run, end", "stockade run", value, "s", "s", value, BAR,
        tuple(samples["stockade run"]),
    )  # fmt: skip
    if problem:
        yield Figure("start, run, end", "podman run", 0, "s", note=problem)
    else:
        other = median(samples["podman run"])
        yield Figure(
            "start, run, end", "podman run", other, "s", "of stockade run",
            other / value, samples=tuple(samples["podman run"]),
            note="without any network",
        )  # fmt: skip


def _time(argv: Sequence[str], env: dict[str, str] | None = None) -> float:
    begin = time.perf_counter()
    done = subprocess.run(
        argv,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        env=env,
    )
    if done.returncode:
        raise RuntimeError(f"{argv[0]}: {done.stderr.strip()[-300:]}")
    return time.perf_counter() - begin


@contextlib.contextmanager
def podman() -> Iterator[tuple[list[str], str]]:
    """A podman with storage of its own and a minimal image, or why there is none."""
    with _storage() as directory:
        config = Path(directory, "containers.conf")
        config.write_text(
            '[containers]\ndefault_ulimits = ["nofile=16384:16384", "nproc=16384:16384"]\n'
            '[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n'
        )
        base = [
            "env", f"CONTAINERS_CONF={config}", "podman", "--runtime", "runc",
            "--root", f"{directory}/root", "--runroot", f"{directory}/run",
        ]  # fmt: skip
        try:
            _time([*base, "import", _tiny_root(directory), "bench"])
        except (RuntimeError, OSError, StopIteration) as error:
            yield [], f"does not run here: {error}"[:120]
            return
        yield base, ""


@contextlib.contextmanager
def _podman() -> Iterator[tuple[list[str], str]]:
    """A `podman run` of that image, or why there is none."""
    with podman() as (base, missing):
        problem = missing
        argv = [*base, "run", "--rm", "--network", "none", "bench", "/bin/true", "-V"]
        try:
            if not problem:
                _time(argv)
        except (RuntimeError, OSError) as error:
            problem = f"does not run here: {error}"[:120]
        yield ([] if problem else argv), problem


@contextlib.contextmanager
def _storage() -> Iterator[str]:
    """A directory for podman, which mounts things in it and leaves them mounted."""
    with tempfile.TemporaryDirectory(prefix="stockade-bench-") as directory:
        try:
            yield directory
        finally:
            for line in Path("/proc/self/mountinfo").read_text().splitlines():
                point = line.split()[4]
                if point.startswith(directory):
                    subprocess.run(["umount", "--lazy", point], check=False)


def _tiny_root(directory: str) -> str:
    """A root file system with one static program: the least podman can start."""
    program = next(
        path
        for path in ("/usr/bin/catatonit", "/usr/bin/tini-static")
        if os.access(path, os.X_OK)
    )
    root = Path(directory, "tiny", "bin")
    root.mkdir(parents=True)
    # `catatonit -V` is as good as `true`: it starts, prints a line, and ends.
    (root / "true").write_bytes(Path(program).read_bytes())
    (root / "true").chmod(0o755)
    archive = f"{directory}/tiny.tar"
    subprocess.run(["tar", "-C", str(root.parent), "-cf", archive, "."], check=True)
    return archive
