"""User namespaces as maps of owners: what id-mapped mounts are given."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from stockade.errors import Unavailable
from stockade.runtime import syscalls

# Children that send no SIGCHLD are waited for on request only.
_WALL = 0x4000_0000


@dataclass(frozen=True, slots=True)
class IdMap:
    """*size* ids: *inside* (on disk, in the devbox) are seen as *outside*."""

    inside: int
    outside: int
    size: int


@contextmanager
def user_namespace(users: Sequence[IdMap], groups: Sequence[IdMap]) -> Iterator[int]:
    """Make a user namespace with these maps and yield a descriptor of it."""
    try:
        child = syscalls.clone_into_user_namespace()
    except OSError as error:
        raise Unavailable(
            f"cannot make a user namespace ({error.strerror}): "
            "set user.max_user_namespaces above 0"
        ) from None
    try:
        process = Path(f"/proc/{child}")
        # One write each, as the kernel wants it.
        (process / "uid_map").write_text(_rendered(users))
        (process / "gid_map").write_text(_rendered(groups))
        descriptor = os.open(process / "ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, _WALL)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _rendered(maps: Sequence[IdMap]) -> str:
    return "".join(f"{m.inside} {m.outside} {m.size}\n" for m in maps)
