"""Unpacks the tar of a root file system that may be hostile.

Every path is resolved by the kernel as if the target were the root directory, so that
neither a link, nor `..`, nor an absolute name leads out of it. Owners, modes, times, links
and file capabilities are kept; devices are left out.
"""

from __future__ import annotations

import contextlib
import lzma
import os
import shutil
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from stockade.command import spawn
from stockade.errors import InvalidRequest, Unavailable
from stockade.runtime.tree import Tree

_CAPABILITY = "security.capability"
_ZSTANDARD = b"\x28\xb5\x2f\xfd"
# More than any image has; a bomb of empty files has more.
_MAX_MEMBERS = 5_000_000
_NOT_A_TAR = (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError)

Report = Callable[[float], None]


def unpack(archive: Path, target: Path, report: Report) -> None:
    """Unpack *archive*, compressed or not, into the empty directory *target*.

    *report* is told the fraction done, and may raise to stop. What is not the tar of a
    root file system is `InvalidRequest`.
    """
    try:
        # Unbuffered, since zstd reads on from where its descriptor stands.
        with archive.open("rb", buffering=0) as file, Tree(target) as tree:
            size = max(1, os.fstat(file.fileno()).st_size)
            with (
                _plain(file) as stream,
                tarfile.open(fileobj=stream, mode="r|*") as tar,
            ):
                directories = _unpack_members(tar, tree, file.fileno(), size, report)
            for member in reversed(directories):
                _finish_directory(tree, member)
    except _NOT_A_TAR as error:
        raise InvalidRequest(f"{archive} is not a whole tar archive: {error}") from None
    _check_root(archive, target)


@contextlib.contextmanager
def _plain(file: IO[bytes]) -> Iterator[IO[bytes]]:
    """Yield what tarfile can read: *file*, or the output of zstd for it."""
    beginning = file.read(4)
    file.seek(0)
    if beginning != _ZSTANDARD:
        yield file
        return
    if shutil.which("zstd") is None:
        raise Unavailable(
            "the archive is compressed with zstd, which is not installed: "
            "install the package zstd, or give the tar uncompressed"
        )
    reading, writing = os.pipe()
    try:
        process = spawn(["zstd", "-dcq"], stdin=file, stdout=writing)
    finally:
        os.close(writing)
    try:
        with open(reading, "rb") as stream:
            yield stream
            while stream.read(1 << 20):
                pass  # padding after the end, which zstd wants to be rid of
    finally:
        status = process.wait()
    if status:
        raise InvalidRequest("the archive cannot be decompressed")


def _unpack_members(
    tar: tarfile.TarFile, tree: Tree, position: int, size: int, report: Report
) -> list[tarfile.TarInfo]:
    """Make everything but the owners and modes of directories; return those."""
    directories = []
    for number, member in enumerate(tar):
        if number >= _MAX_MEMBERS:
            raise InvalidRequest(f"the archive has more than {_MAX_MEMBERS} members")
        report(min(1.0, os.lseek(position, 0, os.SEEK_CUR) / size))
        name = _inside(member.name)
        if name == "/":
            directories.append(member)
        elif member.isdir():
            _make_directory(tree, name)
            directories.append(member)
        elif not member.isdev() or member.isfifo():
            _make(tar, tree, member, name)
    return directories


def _inside(name: str) -> str:
    """Return *name* as an absolute path without surprises."""
    parts = [part for part in PurePosixPath(name).parts if part not in ("/", ".")]
    if ".." in parts or "\0" in name:
        raise InvalidRequest(f"the archive has a member that leads out of it: {name!r}")
    return "/" + "/".join(parts)


def _make_directory(tree: Tree, name: str) -> None:
    path = PurePosixPath(name)
    parent = tree.directory(str(path.parent))
    try:
        with contextlib.suppress(FileNotFoundError, IsADirectoryError):
            os.unlink(path.name, dir_fd=parent)
        with contextlib.suppress(FileExistsError):
            os.mkdir(path.name, 0o755, dir_fd=parent)
    finally:
        os.close(parent)


def _make(tar: tarfile.TarFile, tree: Tree, member: tarfile.TarInfo, name: str) -> None:
    path = PurePosixPath(name)
    parent = tree.directory(str(path.parent))
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path.name, dir_fd=parent)
        if member.islnk():
            _make_link(tree, member, parent, path.name)
        elif member.issym():
            os.symlink(member.linkname, path.name, dir_fd=parent)
            _give(parent, path.name, member)
        elif member.isfifo():
            os.mkfifo(path.name, member.mode & 0o7777, dir_fd=parent)
            _give(parent, path.name, member)
        else:
            _make_file(tar, member, parent, path.name)
    except IsADirectoryError:
        raise InvalidRequest(
            f"the archive has {name!r} as a directory and again as a file"
        ) from None
    finally:
        os.close(parent)


def _make_file(
    tar: tarfile.TarFile, member: tarfile.TarInfo, parent: int, name: str
) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    contents = tar.extractfile(member)
    with os.fdopen(os.open(name, flags, 0o600, dir_fd=parent), "wb") as file:
        if contents is not None:
            shutil.copyfileobj(contents, file, 1 << 20)
        file.flush()
        os.fchown(file.fileno(), member.uid, member.gid)
        # After the owner, whose change takes these bits away.
        os.fchmod(file.fileno(), member.mode & 0o7777)
        capability = member.pax_headers.get(f"SCHILY.xattr.{_CAPABILITY}")
        if capability is not None:
            value = capability.encode("utf-8", "surrogateescape")
            os.setxattr(file.fileno(), _CAPABILITY, value)
        os.utime(file.fileno(), (member.mtime, member.mtime))


def _make_link(tree: Tree, member: tarfile.TarInfo, parent: int, name: str) -> None:
    target = PurePosixPath(_inside(member.linkname))
    source = tree.directory(str(target.parent))
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


def _give(parent: int, name: str, member: tarfile.TarInfo) -> None:
    os.chown(name, member.uid, member.gid, dir_fd=parent, follow_symlinks=False)


def _finish_directory(tree: Tree, member: tarfile.TarInfo) -> None:
    """Give a directory its owner, mode and time, once nothing is put into it."""
    name = _inside(member.name)
    descriptor = tree.directory(name)
    try:
        os.fchown(descriptor, member.uid, member.gid)
        os.fchmod(descriptor, member.mode & 0o7777)
        os.utime(descriptor, (member.mtime, member.mtime))
    finally:
        os.close(descriptor)


def _check_root(archive: Path, target: Path) -> None:
    names = {entry.name for entry in target.iterdir()}
    if names & {"oci-layout", "manifest.json"} and not names & {"usr", "bin"}:
        raise InvalidRequest(
            f"{archive} is a container image in layers, not a root file system: "
            "start a container of it and use `docker export` or `podman export`"
        )
    if not names & {"usr", "bin"}:
        raise InvalidRequest(
            f"{archive} is not a root file system: it has neither /usr nor /bin"
        )
