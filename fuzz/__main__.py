"""`python -m fuzz TARGET FILE...`: check single inputs, without the fuzzer."""

from __future__ import annotations

import sys
from pathlib import Path

from fuzz.catalog import TARGETS


def main(arguments: list[str]) -> int:
    """Check each file; the first finding is raised as it is."""
    if len(arguments) < 2 or arguments[0] not in TARGETS:
        print(f"usage: python -m fuzz TARGET FILE...; targets: {' '.join(TARGETS)}")
        return 2
    target = TARGETS[arguments[0]]
    for name in arguments[1:]:
        target.run(Path(name).read_bytes())
        print(f"{name}: nothing found")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
