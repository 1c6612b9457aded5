"""`python -m fuzz.minimise [TARGET...]`: keep the inputs that reach something of their own.

Of the corpus and of what runs left in `fuzz/found`, the smallest inputs that together go
through every step from line to line of stockade that all of them go through. It needs no
atheris, and is stable: what is in the corpus stays there unless something smaller does.
"""

from __future__ import annotations

import hashlib
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import stockade
from fuzz.catalog import TARGETS
from fuzz.run import CORPUS, FOUND
from fuzz.target import Target

_SOURCE = str(Path(stockade.__file__).parent)

Steps = set[tuple[str, int, int]]


def steps_of(check: Callable[[bytes], None], data: bytes) -> Steps:
    """The steps from line to line that *data* takes in the modules of stockade."""
    steps: Steps = set()

    def enter(frame: FrameType, _event: str, _argument: Any) -> Any:
        file = frame.f_code.co_filename
        if not file.startswith(_SOURCE):
            return None
        last = 0

        def step(frame: FrameType, event: str, _argument: Any) -> Any:
            nonlocal last
            if event == "line":
                steps.add((file, last, frame.f_lineno))
                last = frame.f_lineno
            return step

        return step

    sys.settrace(enter)
    try:
        check(data)
    finally:
        sys.settrace(None)
    return steps


def minimise(target: Target, folders: tuple[Path, ...]) -> list[bytes]:
    """The smallest inputs of *folders* that take every step the seeds do not take."""
    inputs = {path.read_bytes() for folder in folders for path in folder.glob("*")}
    covered: Steps = set()
    for seed in target.seeds:
        covered |= steps_of(target.check, seed)
    kept: list[bytes] = []
    for data in sorted(inputs, key=lambda data: (len(data), data)):
        steps = steps_of(target.check, data)
        if not steps <= covered:
            covered |= steps
            kept.append(data)
    return kept


def main() -> None:
    """Rewrite the corpus of the targets named, or of all."""
    logging.disable()
    for name in sys.argv[1:] or TARGETS:
        corpus = CORPUS / name
        kept = minimise(TARGETS[name], (corpus, FOUND / name))
        corpus.mkdir(parents=True, exist_ok=True)
        for path in corpus.glob("*"):
            path.unlink()
        for data in kept:
            (corpus / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
        print(f"{name}: {len(kept)} inputs, {sum(map(len, kept)):,} octets")


if __name__ == "__main__":
    main()
