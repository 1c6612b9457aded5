"""Namespaces of a lab: made, removed, and swept when their owner died.

Everything on the machine that belongs to a lab carries its id: two namespaces, one
directory under /etc/netns, one under `RUN`. The latter holds a lock for as long as the
lab's owner or its server process lives; a lab whose lock is free has no owner and is
removed.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from tests.lab.addresses import (
    HOST4,
    HOST6,
    HOST_EXTRA4,
    HOST_MAC,
    HOST_PRIVATE4,
    INET4,
    INET6,
    INET_MAC,
    RESOLVER4,
)

RUN: Final = Path("/run/stockade-lab")
ETC: Final = Path("/etc/netns")
NETNS: Final = Path("/run/netns")

_number = itertools.count(1)

# Addresses are complete at once: no duplicate detection, no neighbour discovery, no
# router solicitations that would count as packets.
_HOST: Final = f"""\
link set lo up
link set eth0 address {HOST_MAC} addrgenmode none
link set eth0 up
address add {HOST4}/30 dev eth0
address add {HOST_EXTRA4}/32 dev eth0
address add {HOST_PRIVATE4}/32 dev eth0
address add {HOST6}/64 dev eth0 nodad
neighbour replace {INET4} lladdr {INET_MAC} dev eth0 nud permanent
neighbour replace {INET6} lladdr {INET_MAC} dev eth0 nud permanent
route add default via {INET4} src {HOST4}
route add default via {INET6} src {HOST6}
"""

# The inet namespace takes every packet as its own, whatever its destination, and may
# answer from any address: everything is local but the host.
_INET: Final = f"""\
link set lo up
link set eth0 address {INET_MAC} addrgenmode none
link set eth0 up
address add {INET4}/30 dev eth0
address add {INET6}/64 dev eth0 nodad
neighbour replace {HOST4} lladdr {HOST_MAC} dev eth0 nud permanent
neighbour replace {HOST6} lladdr {HOST_MAC} dev eth0 nud permanent
route add {HOST4} dev eth0 table local
route add {HOST_EXTRA4} via {HOST4} dev eth0 table local
route add {HOST_PRIVATE4} via {HOST4} dev eth0 table local
route add local default dev lo table local
"""
_INET6: Final = f"""\
route add {HOST6} dev eth0 table local
route add local default dev lo table local
"""


def run(argv: Sequence[str], *, stdin: str | None = None) -> str:
    """Run a command that must succeed; its error text is in the exception."""
    done = subprocess.run(
        argv, input=stdin, capture_output=True, text=True, check=False, timeout=30
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(argv)}: {done.stderr.strip()}")
    return done.stdout


def new_id() -> str:
    """An id no living lab has."""
    return f"{os.getpid()}-{next(_number)}"


def host(lab: str) -> str:
    """The name of the uplink namespace."""
    return f"lab-{lab}-host"


def inet(lab: str) -> str:
    """The name of the servers' namespace."""
    return f"lab-{lab}-inet"


def lock(lab: str) -> int:
    """Make the lab's directory and take its lock; returns the descriptor that holds
    it."""
    with _alone():
        (RUN / lab).mkdir()
        descriptor = os.open(RUN / lab / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Only one process at a time: a sweep must not see a lab before it has its lock."""
    RUN.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(RUN, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def create(lab: str) -> None:
    """Make both namespaces and the link between them."""
    directory = ETC / host(lab)
    directory.mkdir(parents=True)
    (directory / "resolv.conf").write_text(f"nameserver {RESOLVER4}\n")
    names = host(lab), inet(lab)
    run(["ip", "-batch", "-"], stdin="".join(f"netns add {name}\n" for name in names))
    link = f"link add eth0 type veth peer name eth0 netns {inet(lab)}\n"
    run(["ip", "-n", host(lab), "-batch", "-"], stdin=link + _HOST)
    run(["ip", "-n", inet(lab), "-batch", "-"], stdin=_INET)
    run(["ip", "-6", "-n", inet(lab), "-batch", "-"], stdin=_INET6)


def remove(lab: str) -> None:
    """Remove all of a lab that is there. May be called twice, also by two processes."""
    for name in (host(lab), inet(lab)):
        for pid in _pids(NETNS / name):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if (NETNS / name).exists():
            subprocess.run(["ip", "netns", "delete", name], check=False, timeout=30)
    shutil.rmtree(ETC / host(lab), ignore_errors=True)
    with contextlib.suppress(OSError):
        ETC.rmdir()  # only when nobody else uses it
    shutil.rmtree(RUN / lab, ignore_errors=True)


def sweep() -> None:
    """Remove the labs whose owner and server process are both gone."""
    with _alone():
        for path in RUN.glob("*/lock"):
            if _is_free(path):
                remove(path.parent.name)


def _is_free(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:  # its own server process removed it meanwhile
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        return True
    finally:
        os.close(descriptor)


def _pids(namespace: Path) -> list[int]:
    """The processes in a namespace, but for the caller: all were started by the lab."""
    try:
        wanted = namespace.stat()
    except OSError:
        return []
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            here = (entry / "ns/net").stat()
            if (here.st_dev, here.st_ino) == (wanted.st_dev, wanted.st_ino):
                found.append(int(entry.name))
    return [pid for pid in found if pid != os.getpid()]
