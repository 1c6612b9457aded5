"""Unpacks the tar of a root file system, or of a layer of one, that may be hostile.

Every path is resolved by the kernel as if the target were the root directory, so that
neither a link, nor `..`, nor an absolute name leads out of it. Owners, modes, times, links
and file capabilities are kept; devices and other attributes are left out.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import shutil
import tarfile
from pathlib import Path, PurePosixPath
from typing import IO, cast

from stockade.errors import InvalidRequest, Unavailable
from stockade.runtime.tree import Tree
from stockade.runtime.whiteouts import Whiteouts

_CAPABILITY = "security.capability"
# More than any image has; a bomb of empty files has more.
_MAX_MEMBERS = 2_000_000
_MAX_FILE = 1 << 40
_PIECE = 1 << 20
# What a system call says of names and values that no file can have.
_NOT_POSSIBLE = {
    getattr(errno, name)
    for name in "EEXIST EFBIG EINVAL EISDIR ELOOP EMLINK ENAMETOOLONG ENOTDIR EOVERFLOW"
    " EPERM".split()
}


class Unpacking:
    """The unpacking of one tar into *tree*.

    *layer* is whether the tar changes what is there: it may replace and delete. Its files
    may have *room* bytes.
    """

    def __init__(self, tree: Tree, room: int, *, layer: bool) -> None:
        self._tree = tree
        self._room = room
        self._whiteouts = Whiteouts(tree) if layer else None
        self._directories: list[tarfile.TarInfo] = []

    def run(self, tar: tarfile.TarFile) -> None:
        """Unpack all members. Raises `InvalidRequest` for what cannot be unpacked."""
        name = "the archive"
        try:
            for number, member in enumerate(tar):
                name = repr(member.name)
                if number >= _MAX_MEMBERS:
                    raise InvalidRequest(
                        f"the archive has more than {_MAX_MEMBERS} members"
                    )
                self._unpack(tar, member)
                # tarfile remembers all members, though it reads each once.
                tar.members = []  # type: ignore[attr-defined]
            for member in reversed(self._directories):
                name = repr(member.name)
                self._finish_directory(member)
        except (OverflowError, ValueError) as error:
            raise InvalidRequest(f"{name} cannot be unpacked: {error}") from None
        except OSError as error:
            if error.errno not in _NOT_POSSIBLE:
                raise
            raise InvalidRequest(
                f"{name} cannot be unpacked: {error.strerror}"
            ) from None

    def _unpack(self, tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        name = inside(member.name)
        if self._whiteouts is not None:
            if self._whiteouts.apply(name):
                return
            self._whiteouts.made(name)
        if name == "/":
            self._directories.append(member)
        elif member.isdir():
            self._make_directory(name)
            self._directories.append(member)
        elif not member.isdev() or member.isfifo():
            self._make(tar, member, name)

    def _make_directory(self, name: str) -> None:
        path = PurePosixPath(name)
        parent = self._tree.directory(str(path.parent))
        try:
            with contextlib.suppress(FileNotFoundError, IsADirectoryError):
                os.unlink(path.name, dir_fd=parent)
            with contextlib.suppress(FileExistsError):
                os.mkdir(path.name, 0o755, dir_fd=parent)
        finally:
            os.close(parent)

    def _make(self, tar: tarfile.TarFile, member: tarfile.TarInfo, name: str) -> None:
        path = PurePosixPath(name)
        parent = self._tree.directory(str(path.parent))
        try:
            self._make_way(parent, path.name)
            if member.islnk():
                self._make_link(member, parent, path.name)
            elif member.issym():
                os.symlink(member.linkname, path.name, dir_fd=parent)
                _give(parent, path.name, member)
            elif member.isfifo():
                os.mkfifo(path.name, member.mode & 0o7777, dir_fd=parent)
                _give(parent, path.name, member)
            else:
                self._make_file(tar, member, parent, path.name)
        except IsADirectoryError:
            raise InvalidRequest(
                f"the archive has {name!r} as a directory and again as a file"
            ) from None
        finally:
            os.close(parent)

    def _make_way(self, parent: int, name: str) -> None:
        try:
            os.unlink(name, dir_fd=parent)
        except FileNotFoundError:
            pass
        except IsADirectoryError:
            if self._whiteouts is None:
                raise
            shutil.rmtree(name, dir_fd=parent)

    def _make_file(
        self, tar: tarfile.TarFile, member: tarfile.TarInfo, parent: int, name: str
    ) -> None:
        # Typed as one number, which it is only while the header is read.
        sparse = cast("list[tuple[int, int]] | None", member.sparse)
        parts = sparse or [(0, member.size)]
        data = sum(max(0, size) for _, size in parts)
        if member.size > _MAX_FILE or data > self._room:
            raise Unavailable(
                f"{member.name!r} of the archive takes {max(member.size, data)} bytes, "
                "which is more than there is room for; "
                "`stockade image prune` frees what nothing uses"
            )
        self._room -= data
        # Not by way of its buffer, which cannot skip a hole.
        contents = cast("io.BufferedReader", tar.extractfile(member))
        raw = cast("io.RawIOBase", contents.raw)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(name, flags, 0o600, dir_fd=parent), "wb") as file:
            for offset, size in parts:
                # What is between the parts stays a hole.
                file.seek(offset)
                raw.seek(offset)
                _copy(raw, file, size)
            file.flush()
            os.ftruncate(file.fileno(), member.size)
            _dress(file.fileno(), member)

    def _make_link(self, member: tarfile.TarInfo, parent: int, name: str) -> None:
        target = PurePosixPath(inside(member.linkname))
        source = self._tree.directory(str(target.parent))
        try:
            os.link(
                target.name,
                name,
                src_dir_fd=source,
                dst_dir_fd=parent,
                follow_symlinks=False,
            )
        except FileNotFoundError:
            raise InvalidRequest(
                f"the archive has a link {member.name!r} to what it does not have: "
                f"{member.linkname!r}"
            ) from None
        finally:
            os.close(source)

    def _finish_directory(self, member: tarfile.TarInfo) -> None:
        """Give a directory its owner, mode and time, once nothing is put into it."""
        try:
            flags = os.O_RDONLY | os.O_DIRECTORY
            descriptor = self._tree.open(inside(member.name), flags)
        except (FileNotFoundError, NotADirectoryError):
            return  # replaced by a later member
        try:
            os.fchown(descriptor, member.uid, member.gid)
            os.fchmod(descriptor, member.mode & 0o7777)
            os.utime(descriptor, (member.mtime, member.mtime))
        finally:
            os.close(descriptor)


def inside(name: str) -> str:
    """Return *name* as an absolute path without surprises."""
    parts = [part for part in PurePosixPath(name).parts if part not in ("/", "//", ".")]
    if ".." in parts or "\0" in name:
        raise InvalidRequest(f"the archive has a member that leads out of it: {name!r}")
    return "/" + "/".join(parts)


def check_root(archive: Path, target: Path) -> None:
    """Refuse what is no root file system."""
    if not {entry.name for entry in target.iterdir()} & {"usr", "bin"}:
        raise InvalidRequest(
            f"{archive} is not a root file system: it has neither /usr nor /bin"
        )


def _copy(source: io.RawIOBase, target: IO[bytes], size: int) -> None:
    while size > 0:
        piece = source.read(min(_PIECE, size))
        if not piece:
            raise InvalidRequest("the archive ends in the middle of a file")
        target.write(piece)
        size -= len(piece)


def _dress(descriptor: int, member: tarfile.TarInfo) -> None:
    """Give a file its owner, mode, capabilities and time."""
    os.fchown(descriptor, member.uid, member.gid)
    # After the owner, whose change takes these bits away.
    os.fchmod(descriptor, member.mode & 0o7777)
    capability = member.pax_headers.get(f"SCHILY.xattr.{_CAPABILITY}")
    if capability is not None:
        value = capability.encode("utf-8", "surrogateescape")
        os.setxattr(descriptor, _CAPABILITY, value)
    os.utime(descriptor, (member.mtime, member.mtime))


def _give(parent: int, name: str, member: tarfile.TarInfo) -> None:
    os.chown(name, member.uid, member.gid, dir_fd=parent, follow_symlinks=False)
