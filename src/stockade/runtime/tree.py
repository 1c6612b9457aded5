"""A directory tree whose contents are hostile, reached without ever leaving it.

An image may hold links to anywhere, fifos, devices. `Tree` resolves every path with
openat2(2) as if the tree were the root directory, and refuses kernel links (/proc) and
mount points on the way.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path, PurePosixPath
from typing import Self

from stockade.errors import InvalidRequest
from stockade.runtime import syscalls

_INSIDE = (
    syscalls.RESOLVE_IN_ROOT | syscalls.RESOLVE_NO_MAGICLINKS | syscalls.RESOLVE_NO_XDEV
)
# Paths that do not lead to a file: no such name, a file as a directory, links in a
# circle, a link or mount that leads elsewhere.
_LEADS_NOWHERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EXDEV)


class Tree:
    """One directory tree, by a descriptor of its top. Use as a context manager."""

    def __init__(self, top: Path) -> None:
        self._top = os.open(top, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._top)

    def open(self, path: str, flags: int, mode: int = 0) -> int:
        return syscalls.open_at(self._top, path, flags, mode, _INSIDE)

    def status(self, path: str) -> os.stat_result | None:
        """Return what stat(2) says of *path*; None if it leads nowhere."""
        try:
            descriptor = self.open(path, os.O_PATH)
        except OSError as error:
            if error.errno in _LEADS_NOWHERE:
                return None
            raise
        try:
            return os.fstat(descriptor)
        finally:
            os.close(descriptor)

    def has_link(self, path: str) -> bool:
        """Whether *path* itself is a symbolic link, wherever that leads."""
        try:
            descriptor = self.open(path, os.O_PATH | os.O_NOFOLLOW)
        except OSError:
            return False
        try:
            return stat.S_ISLNK(os.fstat(descriptor).st_mode)
        finally:
            os.close(descriptor)

    def real_path(self, descriptor: int) -> PurePosixPath:
        """Return where in the tree an open file is, all links followed."""
        top = Path(f"/proc/self/fd/{self._top}").readlink()
        place = Path(f"/proc/self/fd/{descriptor}").readlink()
        return PurePosixPath("/") / place.relative_to(top)

    def read(self, path: str, limit: int = 1 << 20) -> bytes | None:
        """Return the contents of a regular file; None if *path* leads nowhere.

        Anything but a regular file, or more than *limit* octets, is `InvalidRequest`.
        """
        found = self.status(path)
        if found is None:
            return None
        if not stat.S_ISREG(found.st_mode) or found.st_size > limit:
            raise InvalidRequest(
                f"{path} of the image is not a regular file of at most {limit} octets"
            )
        descriptor = self.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
        with open(descriptor, "rb") as file:
            return file.read(limit)

    def write(self, path: str, contents: bytes, mode: int = 0o644) -> None:
        """Put a new regular file at *path*, in place of whatever is there.

        Missing directories are made. A directory at *path* is `InvalidRequest`.
        """
        with contextlib.ExitStack() as stack:
            parent = self.directory(str(PurePosixPath(path).parent))
            stack.callback(os.close, parent)
            name = PurePosixPath(path).name
            try:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=parent)
            except IsADirectoryError:
                raise InvalidRequest(f"{path} of the image is a directory") from None
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(name, flags, 0o600, dir_fd=parent)
            with open(descriptor, "wb") as file:
                file.write(contents)
                os.fchmod(file.fileno(), mode)

    def directory(self, path: str, owner: tuple[int, int] | None = None) -> int:
        """Open the directory *path* and make what is missing of it, with *owner*."""
        try:
            return self.open(path, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            pass
        except OSError as error:
            if error.errno in _LEADS_NOWHERE:
                raise InvalidRequest(
                    f"{path} of the image is not a directory"
                ) from None
            raise
        wanted = PurePosixPath(path)
        parent = self.directory(str(wanted.parent), owner)
        try:
            os.mkdir(wanted.name, 0o755, dir_fd=parent)
        except FileExistsError:
            raise InvalidRequest(f"{path} of the image is a link to nothing") from None
        finally:
            os.close(parent)
        made = self.open(path, os.O_RDONLY | os.O_DIRECTORY)
        os.fchmod(made, 0o755)  # whatever our umask is
        if owner is not None:
            os.fchown(made, *owner)
        return made
