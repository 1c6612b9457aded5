"""What a layer deletes: names that begin with `.wh.` in its tar.

They concern what lower layers have, never what the same layer brings, in whatever order
the two come.
"""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import PurePosixPath

from stockade.errors import InvalidRequest
from stockade.runtime.tree import Tree

#: What the name of a deleted file has before it, and what empties a directory.
PREFIX, OPAQUE = ".wh.", ".wh..wh..opq"
_RESERVED = ".wh..wh."


class Whiteouts:
    """Deletes in *tree* what one layer says."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._made: set[str] = set()

    def made(self, name: str) -> None:
        """Remember that the layer brings *name*."""
        path = PurePosixPath(name)
        for place in (path, *path.parents):
            if str(place) in self._made:
                return
            self._made.add(str(place))

    def apply(self, name: str) -> bool:
        """Whether *name* is a whiteout; what it means is deleted."""
        path = PurePosixPath(name)
        if not path.name.startswith(PREFIX):
            return False
        if path.name == OPAQUE:
            self._empty(path.parent)
        elif not path.name.startswith(_RESERVED):
            self._delete(path.with_name(_target(path.name)))
        return True

    def _delete(self, path: PurePosixPath) -> None:
        if str(path) in self._made:
            # Only what is below it from other layers goes.
            self._empty(path)
            return
        parent = self._open(path.parent)
        if parent is None:
            return
        try:
            _remove(path.name, parent)
        finally:
            os.close(parent)

    def _empty(self, path: PurePosixPath) -> None:
        """Delete what other layers have in a directory."""
        directory = self._open(path)
        if directory is None:
            return
        try:
            with os.scandir(directory) as entries:
                names = [entry.name for entry in entries]
            for name in names:
                place = path / name
                if str(place) not in self._made:
                    _remove(name, directory)
                elif not self._tree.has_link(str(place)):
                    self._empty(place)
        finally:
            os.close(directory)

    def _open(self, path: PurePosixPath) -> int | None:
        flags = os.O_RDONLY | os.O_DIRECTORY
        try:
            return self._tree.open(str(path), flags)
        except (FileNotFoundError, NotADirectoryError):
            return None


def _target(name: str) -> str:
    target = name.removeprefix(PREFIX)
    if target in ("", ".", ".."):
        raise InvalidRequest(f"the archive has a whiteout of no name: {name!r}")
    return target


def _remove(name: str, parent: int) -> None:
    try:
        status = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return
    if stat.S_ISDIR(status.st_mode):
        shutil.rmtree(name, dir_fd=parent)
    else:
        os.unlink(name, dir_fd=parent)
