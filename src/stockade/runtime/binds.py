"""Directories and files of the host inside a devbox.

The owner of a mounted path appears inside as the user the devbox runs as, and what that
user creates there belongs to the owner outside. No other user of the host is visible, or
can be written as: for everybody else inside, new files there fail with EOVERFLOW.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from stockade.errors import InvalidRequest
from stockade.runtime import syscalls
from stockade.runtime.bundle import SYSTEM_PLACES, BindMount, BoxUser
from stockade.runtime.idrange import RANGE_SIZE
from stockade.runtime.tree import Tree
from stockade.runtime.userns import IdMap, user_namespace
from stockade.spec import Mount


@dataclass(frozen=True, slots=True)
class Volume:
    """A directory of ours in a box: owners on disk are those inside."""

    source: Path
    target: str
    read_only: bool = False


def check(mounts: Sequence[Mount]) -> None:
    """Refuse mounts that cannot be made, naming the one that is wrong."""
    for mount in mounts:
        target = PurePosixPath(mount.target)
        if not target.is_absolute() or ".." in target.parts:
            raise InvalidRequest(
                "the target of a mount must be an absolute path without `..`: "
                f"{mount.target!r}"
            )
        if target == PurePosixPath("/"):
            raise InvalidRequest("a mount cannot replace / of the devbox")
        for place in SYSTEM_PLACES:
            if target.is_relative_to(place):
                raise InvalidRequest(
                    f"a mount cannot go to {mount.target!r}: {place} belongs to the devbox"
                )
        if not mount.source.exists():
            raise InvalidRequest(
                f"the source of a mount does not exist: {mount.source}"
            )
        if not (mount.source.is_dir() or mount.source.is_file()):
            raise InvalidRequest(
                f"only directories and files can be mounted: {mount.source}"
            )


def targets(mounts: Sequence[Mount]) -> list[tuple[str, bool]]:
    """Return where *mounts* go, and whether each is a directory."""
    return [(mount.target, mount.source.is_dir()) for mount in mounts]


def make_targets(tree: Tree, places: Sequence[tuple[str, bool]]) -> None:
    """Make the files and directories that will be mounted over, where missing."""
    for place, is_directory in places:
        if is_directory:
            os.close(tree.directory(place))
        elif tree.status(place) is None:
            tree.write(place, b"", mode=0o755)


def prepare(
    mounts: Sequence[Mount], directory: Path, user: BoxUser, base: int
) -> tuple[BindMount, ...]:
    """Mount each source below *directory*, as *user* of the devbox is to see it."""
    prepared = []
    for number, mount in enumerate(mounts):
        place = directory / "mounts" / str(number)
        place.parent.mkdir(exist_ok=True)
        place.parent.chmod(0o711)
        source = mount.source.resolve(strict=True)
        if source.is_dir():
            place.mkdir()
        else:
            place.touch()
        _bind(source, place, user, base, read_only=mount.read_only)
        target = str(PurePosixPath(mount.target))
        prepared.append(BindMount(str(place), target, mount.read_only))
    return tuple(prepared)


def prepare_volumes(
    volumes: Sequence[Volume], directory: Path, base: int
) -> tuple[BindMount, ...]:
    """Mount directories of ours, with all their owners shifted to those of the box."""
    whole = [IdMap(0, base, RANGE_SIZE)]
    prepared = []
    for number, volume in enumerate(volumes):
        place = directory / "volumes" / str(number)
        place.mkdir(parents=True)
        place.parent.chmod(0o711)
        attributes = syscalls.MOUNT_ATTR_RDONLY if volume.read_only else 0
        with user_namespace(whole, whole) as namespace:
            syscalls.bind_mapped(volume.source, place, namespace, attributes)
        prepared.append(BindMount(str(place), volume.target, volume.read_only))
    return tuple(prepared)


def _bind(
    source: Path, place: Path, user: BoxUser, base: int, *, read_only: bool
) -> None:
    owner = source.stat()
    attributes = syscalls.MOUNT_ATTR_NOSUID | syscalls.MOUNT_ATTR_NODEV
    if read_only:
        attributes |= syscalls.MOUNT_ATTR_RDONLY
    users = [IdMap(owner.st_uid, base + user.uid, 1)]
    groups = [IdMap(owner.st_gid, base + user.gid, 1)]
    try:
        with user_namespace(users, groups) as namespace:
            syscalls.bind_mapped(source, place, namespace, attributes)
    except OSError as error:
        if error.errno == errno.EINVAL:
            raise InvalidRequest(
                f"{source} cannot be mounted: its file system has no id-mapped mounts "
                "(network, FUSE and overlay file systems have none); copy it elsewhere"
            ) from None
        raise
