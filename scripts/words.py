"""Finds words that must not be in the repository.

Registry hosts: installs take packages from wherever the machine is configured to.
Paths of one machine: they mean nothing on the next. The patterns are written so that
this file does not match itself.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

FORBIDDEN = {
    "a package registry's host": re.compile(
        r"p[y]pi\.org|p[y]thonhosted\.org|n[p]mjs\.(?:org|com)|d[e]b\.debian\.org"
        r"|s[n]apshot\.debian\.org|(?:s[e]curity|archive|ports)\.(?:debian|ubuntu)\."
        r"|r[e]gistry-1\.docker|c[r]ates\.io|p[r]oxy\.golang"
    ),
    "a path of one machine": re.compile(
        r"/w[o]rk/|\.\./s[h]ared|/o[p]t/(?:pypi|wheels)|\.p[y]env|/tmp/(?:venv|bash)[-_]"
    ),
    "a reference outside the repository": re.compile(
        r"d[e]velopers' guide|i[s]sues show|design\.md|h[o]use-style"
    ),
    "unfinished work": re.compile(r"\b(?:T[O]DO|F[I]XME|X[X]X)\b"),
}


def tracked(root: Path) -> Iterator[Path]:
    """Yield the files git knows or would add, except what .gitignore names."""
    # The clone may belong to another user than the one who runs the gate.
    git = ["git", "-c", "safe.directory=*"]
    argv = [*git, "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(argv, cwd=root, capture_output=True, check=True).stdout
    for name in sorted(set(listed.decode().split("\0")) - {""}):
        if (root / name).is_file():
            yield root / name


def offences(root: Path = ROOT) -> list[str]:
    """Return `file:line: what: text` for every forbidden word."""
    found = []
    for path in tracked(root):
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            continue  # a picture or an archive holds no words
        for number, line in enumerate(lines, start=1):
            found += [
                f"{path.relative_to(root)}:{number}: {what}: {line.strip()[:100]}"
                for what, pattern in FORBIDDEN.items()
                if pattern.search(line)
            ]
    return found


def main() -> int:
    """Print what is found; exit status 1 if there is anything."""
    found = offences()
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
