"""The files that an image is handed around in: those of a directory, or of a tar."""

from __future__ import annotations

import os
import stat
import tarfile
from pathlib import Path
from typing import IO, Protocol, Self

from stockade.errors import InvalidRequest
from stockade.runtime.streams import Member
from stockade.runtime.tree import Tree

_MAX_MEMBERS = 20_000


class Files(Protocol):
    """The files of an image as it is handed around."""

    def open(self, name: str) -> IO[bytes]:
        """Open one. Raises `InvalidRequest` if there is none."""

    def has(self, name: str) -> bool:
        """Whether there is one."""


class DirectoryFiles:
    """The files of a layout in a directory. Use as a context manager."""

    def __init__(self, top: Path) -> None:
        self._tree = Tree(top)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._tree.__exit__()

    def open(self, name: str) -> IO[bytes]:
        """Open one. Raises `InvalidRequest` if there is none."""
        try:
            flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY
            file = os.fdopen(self._tree.open(name, flags), "rb")
        except OSError as error:
            raise _missing(name, str(error.strerror)) from None
        if not self.has(name):
            file.close()
            raise _missing(name, "not a regular file")
        return file

    def has(self, name: str) -> bool:
        """Whether there is one."""
        found = self._tree.status(name)
        return found is not None and _is_regular(found)


class TarFiles:
    """The files in a plain tar. Use as a context manager."""

    def __init__(self, file: IO[bytes]) -> None:
        self._tar = tarfile.TarFile(fileobj=file, tarinfo=Member)
        self._members: dict[str, tarfile.TarInfo] = {}
        try:
            self._index()
        except BaseException:
            self._tar.close()
            raise

    def _index(self) -> None:
        for number, member in enumerate(self._tar):
            if number > _MAX_MEMBERS:
                raise InvalidRequest(f"the archive has more than {_MAX_MEMBERS} files")
            self._members[member.name.removeprefix("./")] = member

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._tar.close()

    def open(self, name: str) -> IO[bytes]:
        """Open one. Raises `InvalidRequest` if there is none."""
        member = self._members.get(name)
        if member is None:
            raise _missing(name, "no such file")
        try:
            file = self._tar.extractfile(member)
        except (KeyError, RecursionError):
            file = None  # a link to nothing, or to itself
        if file is None:
            raise _missing(name, "not a regular file")
        return file

    def has(self, name: str) -> bool:
        """Whether there is one."""
        return name in self._members


def _missing(name: str, why: str) -> InvalidRequest:
    return InvalidRequest(f"the archive does not have {name}: {why}")


def _is_regular(status: os.stat_result) -> bool:
    return stat.S_ISREG(status.st_mode)
