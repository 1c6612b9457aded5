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
    try:
        return Netns(os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        raise EnforcementError(
            f"process {pid} has no network namespace to attach to: {error.strerror}"
        ) from None


def _setns(fd: int) -> None:
    if _libc.setns(fd, _CLONE_NEWNET):
        number = ctypes.get_errno()
        raise EnforcementError(
            f"cannot enter a network namespace: {os.strerror(number)}"
        )
