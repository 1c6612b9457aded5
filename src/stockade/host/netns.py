"""Network namespaces held by file descriptor.

They have no name and no mount: a namespace lives as long as somebody holds a descriptor
of it, a socket made in it, or runs in it. When the last holder dies, killed or not, the
kernel takes away the namespace, its interfaces and their peers, and nothing is left to
sweep.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from stockade.errors import EnforcementError

_CLONE_NEWNET = 0x40000000
# Not /proc/self: that is the main thread, and namespaces are per thread.
_OWN = "/proc/thread-self/ns/net"
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Netns:
    """A network namespace, held by *fd* until `close`."""

    fd: int

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Run a block of this thread inside the namespace.

        Other threads are not moved. The block must not await: the event loop would
        serve other tasks in here. Sockets made inside belong to the namespace for good.
        """
        before = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _setns(self.fd)
            try:
                yield
            finally:
                _setns(before)
        finally:
            os.close(before)

    def identity(self) -> tuple[int, int]:
        """What tells two namespaces apart while both are held."""
        status = os.fstat(self.fd)
        return status.st_dev, status.st_ino

    def close(self) -> None:
        """Let go of the namespace. May be called twice."""
        with suppress(OSError):
            os.close(self.fd)


def create() -> Netns:
    """Make a namespace with nothing in it but a loopback interface that is down."""
    before = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _libc.unshare(_CLONE_NEWNET):
            number = ctypes.get_errno()
            raise EnforcementError(
                f"cannot create a network namespace: {os.strerror(number)}; "
                "this needs root, and a kernel with network namespaces"
            )
        try:
            return Netns(os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC))
        finally:
            _setns(before)
    finally:
        os.close(before)


def current() -> tuple[int, int]:
    """The identity of the namespace this thread is in."""
    status = Path(_OWN).stat()
    return status.st_dev, status.st_ino


def of_process(pid: int) -> Netns:
    """Hold the network namespace of process *pid*."""
    with Resident.of_process(pid) as resident:
        return resident.netns()


@dataclass(frozen=True, slots=True)
class Resident:
    """A process in a network namespace, which it keeps alive: this does not.

    *fd* is its directory in `/proc`, so it is this process for good, whatever becomes of
    its number.
    """

    pid: int
    fd: int

    @classmethod
    def of_process(cls, pid: int) -> Self:
        """The process *pid*. Raises `EnforcementError` if there is none."""
        try:
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
            return cls(pid, os.open(f"/proc/{pid}", flags))
        except OSError as error:
            raise _no_namespace(pid, error) from None

    def __enter__(self) -> Self:
        """Close it at the end of the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def netns(self) -> Netns:
        """Hold its network namespace. Raises `EnforcementError` once it has ended."""
        try:
            return Netns(os.open("ns/net", os.O_RDONLY | os.O_CLOEXEC, dir_fd=self.fd))
        except OSError as error:
            raise _no_namespace(self.pid, error) from None

    def close(self) -> None:
        """Let go of the process. May be called twice."""
        with suppress(OSError):
            os.close(self.fd)


def _no_namespace(pid: int, error: OSError) -> EnforcementError:
    return EnforcementError(
        f"process {pid} has no network namespace to attach to: {error.strerror}"
    )


def _setns(fd: int) -> None:
    if _libc.setns(fd, _CLONE_NEWNET):
        number = ctypes.get_errno()
        raise EnforcementError(
            f"cannot enter a network namespace: {os.strerror(number)}"
        )
