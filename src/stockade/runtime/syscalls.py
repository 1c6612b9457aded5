"""The system calls that Python has no function for, by ctypes.

Each raises `OSError` with the call's name and what it was about. Numbers are those of the
unified table, equal on every architecture since Linux 5.1, except `clone`.
"""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CLONE_NEWNS = 0x0002_0000
CLONE_NEWUSER = 0x1000_0000
MS_RDONLY, MS_NOSUID, MS_NODEV = 1, 2, 4
MS_BIND, MS_REC, MS_SLAVE = 0x1000, 0x4000, 0x8_0000
MNT_DETACH = 2
MOUNT_ATTR_RDONLY, MOUNT_ATTR_NOSUID, MOUNT_ATTR_NODEV = 1, 2, 4
RESOLVE_NO_XDEV, RESOLVE_NO_MAGICLINKS, RESOLVE_IN_ROOT = 0x01, 0x02, 0x10

_CLONE_FILES = 0x400
_CLONE = {"x86_64": 56, "aarch64": 220}
_OPEN_TREE, _MOVE_MOUNT, _OPENAT2, _MOUNT_SETATTR = 428, 429, 437, 442
_AT_FDCWD = -100
_AT_EMPTY_PATH = 0x1000
_OPEN_TREE_CLONE = 1
_MOVE_MOUNT_F_EMPTY_PATH = 4
_MOUNT_ATTR_IDMAP = 0x0010_0000
_PR_GET_SECUREBITS, _PR_SET_SECUREBITS = 27, 28
_PR_SET_PDEATHSIG = 1
_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 22, 2
_PR_SET_CHILD_SUBREAPER = 36
_SECBIT_NO_SETUID_FIXUP = 1 << 2

_libc = ctypes.CDLL(None, use_errno=True)
# The same library, called without giving up the interpreter lock: see
# `clone_into_user_namespace`.
_locked_libc = ctypes.PyDLL(None, use_errno=True)


class _MountAttr(ctypes.Structure):
    """`struct mount_attr` of mount_setattr(2)."""

    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


class _OpenHow(ctypes.Structure):
    """`struct open_how` of openat2(2)."""

    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


class _SockFprog(ctypes.Structure):
    """`struct sock_fprog` of seccomp(2)."""

    _fields_ = (("len", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def _checked(result: int, call: str, subject: object = "") -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}", str(subject))
    return result


def _syscall(number: int, *arguments: object, call: str, subject: object) -> int:
    result = _libc.syscall(ctypes.c_long(number), *arguments)
    return _checked(result, call, subject)


def _encoded(text: str | Path | None) -> bytes | None:
    return None if text is None else os.fsencode(text)


def mount(
    source: str | Path | None,
    target: str | Path,
    kind: str | None,
    flags: int,
    options: str | None = None,
) -> None:
    arguments = (
        _encoded(source),
        _encoded(target),
        _encoded(kind),
        ctypes.c_ulong(flags),
        _encoded(options),
    )
    _checked(_libc.mount(*arguments), f"mount {kind or ''}", target)


def unmount(target: str | Path, flags: int = MNT_DETACH) -> None:
    _checked(_libc.umount2(_encoded(target), flags), "umount", target)


def syncfs(descriptor: int) -> None:
    _checked(_libc.syncfs(descriptor), "syncfs")


def unshare(flags: int) -> None:
    _checked(_libc.unshare(flags), "unshare")


def bind_mapped(
    source: Path, target: Path, user_namespace: int, attributes: int = 0
) -> None:
    """Show *source* at *target* with owners as *user_namespace* maps them.

    *attributes* are MOUNT_ATTR flags. Mounts below *source* are not taken along.
    """
    flags = _OPEN_TREE_CLONE | os.O_CLOEXEC
    tree = _syscall(
        _OPEN_TREE,
        _AT_FDCWD,
        _encoded(source),
        ctypes.c_uint(flags),
        call="open_tree",
        subject=source,
    )
    try:
        wanted = _MountAttr(_MOUNT_ATTR_IDMAP | attributes, 0, 0, user_namespace)
        _syscall(
            _MOUNT_SETATTR,
            tree,
            b"",
            ctypes.c_uint(_AT_EMPTY_PATH),
            ctypes.byref(wanted),
            ctypes.c_size_t(ctypes.sizeof(wanted)),
            call="mount_setattr",
            subject=source,
        )
        _syscall(
            _MOVE_MOUNT,
            tree,
            b"",
            _AT_FDCWD,
            _encoded(target),
            ctypes.c_uint(_MOVE_MOUNT_F_EMPTY_PATH),
            call="move_mount",
            subject=target,
        )
    finally:
        os.close(tree)


def open_at(directory: int, path: str, flags: int, mode: int, resolve: int) -> int:
    """Open *path* below *directory* under the *resolve* rules of openat2(2)."""
    how = _OpenHow(flags | os.O_CLOEXEC, mode, resolve)
    return _syscall(
        _OPENAT2,
        directory,
        _encoded(path),
        ctypes.byref(how),
        ctypes.c_size_t(ctypes.sizeof(how)),
        call="openat2",
        subject=path,
    )


def filter_calls(program: bytes) -> None:
    """Put this thread, and all it starts from here on, under a classic BPF *program*."""
    code = ctypes.create_string_buffer(program, len(program))
    filtered = _SockFprog(len(program) // 8, ctypes.addressof(code))
    arguments = (_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(filtered), 0, 0)
    _checked(_libc.prctl(*arguments), "prctl seccomp")


def become_subreaper() -> None:
    """Make orphans among our descendants our children, whoever started them."""
    _checked(_libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "prctl")


def clone_into_user_namespace() -> int:
    """Start a child that does nothing, in a user namespace of its own; return its pid.

    The child holds a copy of this process in the middle of a call, maybe with locks of
    threads it does not have. It therefore never runs anything but pause(2): the caller
    kills it, or its own death does. It raises no SIGCHLD, so that no event loop hears of
    it: wait with __WALL.
    """
    parent = os.getpid()
    flags = ctypes.c_ulong(CLONE_NEWUSER | _CLONE_FILES)
    number = ctypes.c_long(_CLONE[os.uname().machine])
    pid: int = _locked_libc.syscall(number, flags, None, None, None, None)
    while pid == 0:
        _locked_libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if _locked_libc.getppid() != parent:
            _locked_libc["_exit"](0)
        _locked_libc.pause()
    return _checked(pid, "clone into a user namespace")


@contextmanager
def files_owned_by(owner: int) -> Iterator[None]:
    """Let this thread create and reach files as user and group *owner*.

    Capabilities stay. Needed for every write to an id-mapped mount, into which user 0 of
    the machine does not map, and by overlay, which remembers who mounted it.
    """
    bits = _checked(_libc.prctl(_PR_GET_SECUREBITS, 0, 0, 0, 0), "prctl")
    wanted = bits | _SECBIT_NO_SETUID_FIXUP
    _checked(_libc.prctl(_PR_SET_SECUREBITS, wanted, 0, 0, 0), "prctl")
    group, user = _libc.setfsgid(owner), _libc.setfsuid(owner)
    try:
        yield
    finally:
        _libc.setfsuid(user)
        _libc.setfsgid(group)
        _checked(_libc.prctl(_PR_SET_SECUREBITS, bits, 0, 0, 0), "prctl")
