"""Looks for the program of a devbox before it is started.

The init process could only say that it failed; a shell says 127 or 126, and so do we.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable
from pathlib import PurePosixPath

from stockade.errors import NotFound
from stockade.runtime.tree import Tree


class ProgramNotFound(NotFound):
    """The image does not have the program to run. *status* is what a shell exits with."""

    def __init__(self, message: str, status: int) -> None:
        self.status = status
        super().__init__(message)


def check(
    tree: Tree, program: str, *, path: str, workdir: str, mounts: Iterable[str]
) -> None:
    """Raise `ProgramNotFound` if *program* is certainly not to be had in the image.

    What lies below one of *mounts*, the targets of mounts to come, cannot be known yet.
    """
    targets = [PurePosixPath(target) for target in mounts]
    refused = False
    for candidate in _candidates(program, path, workdir):
        if any(candidate.is_relative_to(target) for target in targets):
            return
        found = tree.status(str(candidate))
        if found is None:
            if targets and tree.has_link(str(candidate)):
                return
        elif stat.S_ISREG(found.st_mode) and found.st_mode & 0o111:
            return
        else:
            refused = True
    if refused:
        raise ProgramNotFound(f"not a program in this image: {program!r}", 126)
    raise ProgramNotFound(f"no such program in this image: {program!r}", 127)


def _candidates(program: str, path: str, workdir: str) -> list[PurePosixPath]:
    """Return where execvp(3) would look."""
    if "/" in program:
        return [PurePosixPath(workdir) / program]
    places = [place or "." for place in path.split(":")]
    return [PurePosixPath(workdir) / place / program for place in places]
