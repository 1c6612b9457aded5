"""The root file system of a devbox: image layers below a disk of its own.

Every mount is made in the mount namespace of the caller. One that called
`enter_private_mounts` leaves nothing mounted, however it ends.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from stockade.errors import Unavailable
from stockade.runtime import syscalls

_TRIES = 20
_UNIFIED = Path("/sys/fs/cgroup/unified")


def enter_private_mounts() -> None:
    """Give this thread, and what it starts, a mount namespace of its own.

    Mounts of the machine still arrive, ours do not leave. crun refuses a machine whose
    second cgroup hierarchy holds controllers, so that one goes out of its sight.
    """
    syscalls.unshare(syscalls.CLONE_NEWNS)
    syscalls.mount(None, "/", None, syscalls.MS_REC | syscalls.MS_SLAVE)
    controllers = _UNIFIED / "cgroup.controllers"
    if controllers.is_file() and controllers.read_text().strip():
        syscalls.unmount(_UNIFIED)
        # crun makes a directory for the group here all the same: in memory, and ours.
        syscalls.mount("tmpfs", _UNIFIED, "tmpfs", syscalls.MS_NODEV, "size=16m")


def check_reachable(directory: Path) -> None:
    """Refuse a directory that root of a devbox, nobody outside, cannot get to."""
    for place in (directory, *directory.parents):
        if not place.stat().st_mode & stat.S_IXOTH:
            raise Unavailable(
                f"devboxes cannot be reached below {place}: its mode lets only its owner "
                f"pass; `chmod o+x {place}`, or set another run_dir"
            )


def mount_root(
    directory: Path,
    disk: Path,
    layers: Sequence[Path],
    user_namespace: int,
    base: int,
    *,
    nodev: bool = True,
) -> Path:
    """Mount *layers* (lowest first) below *disk* at *directory*/rootfs and return it."""
    root, mapped = directory / "rootfs", directory / "disk"
    names = [str(number) for number in range(len(layers))]
    for place in (root, mapped, *(disk / "layers" / name for name in names)):
        place.mkdir(parents=True, exist_ok=True)
    for place in (disk / "upper", disk / "work"):
        place.mkdir(exist_ok=True)
        # This is the mode of / inside, whatever our umask is.
        place.chmod(0o755)
    with contextlib.ExitStack() as stack:
        _bind(disk, mapped, user_namespace)
        # Overlay keeps private copies: the helper mounts go at once, all by one call.
        stack.callback(syscalls.unmount, mapped)
        for layer, name in zip(layers, names, strict=True):
            _bind(layer, mapped / "layers" / name, user_namespace)
        top = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        stack.callback(os.close, top)
        # Devices in an image must not become devices of the machine.
        flags = syscalls.MS_NODEV if nodev else 0
        _mount_overlay(root, f"/proc/self/fd/{top}/disk", names, base, flags)
    return root


def _mount_overlay(
    root: Path, top: str, names: Sequence[str], base: int, flags: int
) -> None:
    """Mount by way of a descriptor: short paths, no characters to escape."""
    lowers = ":".join(f"{top}/layers/{name}" for name in reversed(names))
    # Volatile: the disk is deleted with the devbox, so nobody has to wait for its blocks
    # to reach the device, neither at an fsync inside nor at the end.
    disk = f"upperdir={top}/upper,workdir={top}/work,volatile"
    try:
        # Overlay acts as whoever mounted it, so that must be somebody the maps know.
        with syscalls.files_owned_by(base):
            options = f"lowerdir={lowers},{disk}"
            syscalls.mount("overlay", root, "overlay", flags, options)
    except OSError as error:
        raise Unavailable(
            f"cannot mount an overlay at {root}: {error.strerror}"
        ) from None


def _bind(source: Path, place: Path, user_namespace: int) -> None:
    try:
        syscalls.bind_mapped(source, place, user_namespace)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENOSYS, errno.EPERM):
            raise Unavailable(
                f"{source} is on a file system, or this a kernel, without id-mapped "
                "mounts: put data_dir on ext4, xfs or btrfs, with Linux 5.19 or later"
            ) from None
        raise


@contextlib.contextmanager
def writable(directory: Path, layers: Sequence[Path]) -> Iterator[Path]:
    """Mount *layers* with *directory*/upper on top, as they are, for the block."""
    root = directory / "root"
    for place in (root, directory / "upper", directory / "work"):
        place.mkdir()
        place.chmod(0o755)
    with contextlib.ExitStack() as stack:
        tops = []
        for path in (directory, *layers):
            tops.append(os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
            stack.callback(os.close, tops[-1])
        top, *lowers = (f"/proc/self/fd/{number}" for number in tops)
        below = ":".join(reversed(lowers))
        options = f"lowerdir={below},upperdir={top}/upper,workdir={top}/work,volatile"
        # What is in the layer does not depend on how this machine's kernel is set.
        options += ",metacopy=off,redirect_dir=off"
        syscalls.mount("overlay", root, "overlay", syscalls.MS_NODEV, options)
        stack.callback(syscalls.unmount, root)
        yield root


def delete(place: Path, last: str = "") -> None:
    """Delete *place* and all below it, but never what is mounted there.

    A mount that cannot be undone is `Unavailable`, and nothing is deleted: it may show a
    directory of the host. The entry *last* goes when all others have. Other processes
    may be deleting the same.
    """
    if _mounts_below(place):
        unmount_all(place)
        if _mounts_below(place):
            raise Unavailable(f"{place} has mounts below it that cannot be unmounted")
    tries = 0
    while place.is_dir() and not place.is_symlink():
        try:
            for entry in place.iterdir() if last else ():
                if entry.name != last:
                    _delete_entry(entry)
            shutil.rmtree(place)
        except FileNotFoundError:
            pass  # Somebody else was quicker.
        except OSError as error:
            # A reading of a directory that others empty may pass something over.
            tries += 1
            if error.errno != errno.ENOTEMPTY or tries > _TRIES:
                raise
    place.unlink(missing_ok=True)


def _delete_entry(entry: Path) -> None:
    if entry.is_dir() and not entry.is_symlink():
        shutil.rmtree(entry)
    else:
        entry.unlink(missing_ok=True)


def unmount_all(directory: Path) -> None:
    """Unmount whatever is still mounted below *directory*, in this namespace."""
    for point in reversed(_mounts_below(directory)):
        with contextlib.suppress(OSError):
            syscalls.unmount(point)


def _mounts_below(directory: Path) -> list[str]:
    table = Path("/proc/thread-self/mountinfo").read_text(errors="surrogateescape")
    points = (_unescaped(line.split(" ")[4]) for line in table.splitlines())
    # The table has real paths only: a link on the way would hide every mount.
    prefix = f"{directory.resolve()}/"
    return [point for point in points if point.startswith(prefix)]


def _unescaped(point: str) -> str:
    for code, character in (("040", " "), ("011", "\t"), ("012", "\n"), ("134", "\\")):
        point = point.replace(f"\\{code}", character)
    return point
