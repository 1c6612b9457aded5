"""Asks the kernel for what it should refuse; inside a devbox, and outside as control.

Prints a JSON object: for each request, `done` or the error. Standard library only.
"""

from __future__ import annotations

import ctypes
import errno
import json
import mmap
import os
import signal
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

REQUEST_ACK, CREATE = 0x5, 0x400
KINDS = ("veth", "dummy", "bridge", "vxlan", "wireguard", "ipvlan", "gre", "tun")


def attribute(number: int, value: bytes) -> bytes:
    """A netlink attribute, padded."""
    size = len(value) + 4
    return struct.pack("=HH", size, number) + value + bytes(-size % 4)


def ask(protocol: int, kind: int, flags: int, body: bytes) -> str:
    """Send a netlink message; what the kernel says to it."""
    try:
        sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol)
    except OSError as error:
        return f"no socket: {errno.errorcode[error.errno or 0]}"
    with sock:
        sock.settimeout(3)
        head = struct.pack("=IHHII", 16 + len(body), kind, REQUEST_ACK | flags, 1, 0)
        sock.send(head + body)
        (code,) = struct.unpack_from("=i", sock.recv(4096), 16)
        return errno.errorcode[-code] if code else "done"


def requests() -> Iterator[tuple[str, tuple[int, int, int, bytes]]]:
    """What root of a network namespace may do, and nobody else."""
    own = socket.if_nametoindex(sys.argv[1])
    for kind in KINDS:
        info = attribute(18, attribute(1, kind.encode()))
        yield f"link {kind}", (0, 16, CREATE, bytes(16) + info)
    address = socket.inet_aton("100.127.0.5")
    held = struct.pack("=BBBBi", 2, 31, 0, 0, own)
    yield (
        "address",
        (0, 20, CREATE, held + attribute(2, address) + attribute(1, address)),
    )
    to = attribute(1, socket.inet_aton("203.0.113.66"))
    route = struct.pack("=BBBBBBBBI", 2, 32, 0, 0, 254, 3, 253, 1, 0)
    by = attribute(4, struct.pack("=i", own))
    yield "route", (0, 24, CREATE, route + to + by)
    rule = struct.pack("=BBBBBBBBI", 2, 0, 0, 0, 100, 0, 0, 1, 0)
    yield "rule", (0, 32, CREATE, rule)
    neighbour = struct.pack("=BxHiHBB", 2, 0, own, 0x80, 0, 0)
    hardware = attribute(1, address) + attribute(2, b"\2\0\0\0\0\7")
    yield "neighbour", (0, 28, CREATE, neighbour + hardware)
    yield "queueing", (0, 36, CREATE, struct.pack("=BxHiIII", 0, 0, own, 0, 0xFFFF_FFFF, 0)
                       + attribute(1, b"prio\0"))  # fmt: skip
    yield "ruleset", (12, 10 << 8, CREATE, b"\2\0\0\0" + attribute(1, b"stolen\0"))
    yield "transformation", (6, 16, 0, bytes(300))
    down = struct.pack("=BxHiII", 0, 0, own, 0, 1)
    yield "link down", (0, 16, 0, down)
    yield "audit", (9, 1000, 0, bytes(40))


def writable() -> list[str]:
    """The files of the kernel that can be opened to be written."""
    found = []
    places = ("/proc/sys", "/proc/irq", "/proc/bus", "/proc/fs", "/proc/driver", "/sys")
    for place in places:
        for directory, _, files in os.walk(place):
            for name in files:
                found += _opened(f"{directory}/{name}")
    for entry in Path("/proc").iterdir():
        if entry.is_file() and not entry.is_symlink():
            found += _opened(str(entry))
    return found


def _opened(path: str) -> list[str]:
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
    except OSError:
        return []
    return [path]


# int 0x80: the calls of 32-bit programs, with numbers of their own, from a 64-bit one.
OTHER_CONVENTION = bytes.fromhex("53 89f8 89f3 87d1 cd80 4898 5b c3")
CALLS = {
    "getpid": (20, 0, 0, 0),
    "packet socket": (359, 17, 3, 0x0300),
    "raw socket": (359, 2, 3, 255),
    "vsock": (359, 40, 1, 0),
    "crypto socket": (359, 38, 5, 0),
    "new network": (310, 0x4000_0000, 0, 0),
    "new user": (310, 0x1000_0000, 0, 0),
    "io_uring": (425, 1, 0, 0),
    "bpf": (357, 0, 0, 0),
    "key": (288, 0, 0, 0),
    "clone with a network": (120, 0x4000_0011, 0, 0),
}


def convention() -> dict[str, str]:
    """Each call in a child: its result, or the signal that ended the child."""
    code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(OTHER_CONVENTION)
    at = ctypes.addressof(ctypes.c_char.from_buffer(code))
    call = ctypes.CFUNCTYPE(ctypes.c_long, *[ctypes.c_long] * 4)(at)
    return {name: _in_child(call, arguments) for name, arguments in CALLS.items()}


def _in_child(call: Callable[..., int], arguments: tuple[int, ...]) -> str:
    pid = os.fork()
    if not pid:
        result = call(*arguments)
        os._exit(min(-result, 200) if result < 0 else 0)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status < 0:
        return signal.Signals(-status).name
    return errno.errorcode.get(status, str(status)) if status else "done"


def abstract(name: str) -> str:
    """Whether somebody listens on an abstract Unix socket."""
    with socket.socket(socket.AF_UNIX) as sock:
        try:
            sock.connect("\0" + name)
        except OSError as error:
            return errno.errorcode[error.errno or 0]
        return "done"


def main() -> None:
    """Ask for everything that the arguments name."""
    _, _, *wanted = sys.argv
    told: dict[str, object] = {}
    if "netlink" in wanted:
        told["links"] = [name for _, name in socket.if_nameindex()]
        told["netlink"] = {name: ask(*request) for name, request in requests()}
    if "files" in wanted:
        told["files"] = writable()
    if "convention" in wanted:
        told["convention"] = convention()
    told["abstract"] = {n[1:]: abstract(n[1:]) for n in wanted if n.startswith("@")}
    print(json.dumps(told))


if __name__ == "__main__":
    main()
