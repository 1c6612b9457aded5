"""Checks of programs, space and limits; and all checks in one go."""

from __future__ import annotations

import os
import platform
import resource
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from stockade.config import Settings
from stockade.doctor.check import Check, Machine, install_command, read
from stockade.doctor.gateway import check_gateway
from stockade.doctor.kernel import (
    check_cgroups,
    check_idmapped_mounts,
    check_kernel,
    check_loop_devices,
    check_overlay,
    check_root,
    check_seccomp,
    check_user_namespaces,
)
from stockade.host.uplink import resolvers

MINIMUM_DISK = 2 * 1024**3
MINIMUM_FILES = 4096
# File systems whose directories cannot be mounted with other owners.
_UNMAPPABLE = frozenset({"overlay", "nfs", "nfs4", "fuse", "9p", "virtiofs", "ramfs"})


def check_program(
    machine: Machine, name: str, *alternatives: str, required: bool = True
) -> Check:
    """Whether *name* or one of *alternatives* can be found."""
    for program in (name, *alternatives):
        found = shutil.which(program)
        if found:
            return Check(name, ok=True, detail=found, required=required)
    return Check(
        name,
        ok=False,
        detail="not installed",
        remedy=install_command(name, machine.os_release),
        required=required,
    )


def check_data_directory(machine: Machine) -> Check:
    """Whether images and devboxes have a place to live."""
    place = machine.data_dir
    while not place.exists():
        place = place.parent
    kind = _file_system(machine, place)
    free = shutil.disk_usage(place).free
    detail = f"{machine.data_dir} on {kind}, {free / 1024**3:.1f} GiB free"
    remedy = ""
    if kind.partition(".")[0] in _UNMAPPABLE:
        remedy = "set data_dir to a directory on ext4, xfs or btrfs"
    elif free < MINIMUM_DISK:
        remedy = f"free {(MINIMUM_DISK - free) / 1024**3:.1f} GiB, or set data_dir"
    return Check("data directory", ok=not remedy, detail=detail, remedy=remedy)


def check_resolvers(machine: Machine) -> Check:
    """Whether allowed names can be resolved."""
    found = resolvers(machine.resolv_conf)
    if found:
        listed = ", ".join(map(str, found))
        return Check("resolver", ok=True, detail=listed, required=False)
    return Check(
        "resolver",
        ok=False,
        detail=f"{machine.resolv_conf} names none: no host name can be reached",
        remedy=f"echo nameserver ADDRESS >> {machine.resolv_conf}",
        required=False,
    )


def check_open_files() -> Check:
    """Whether the gateway may hold enough sockets."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = hard == resource.RLIM_INFINITY
    ok = unlimited or hard >= MINIMUM_FILES
    return Check(
        "open files",
        ok=ok,
        detail="no limit" if unlimited else f"at most {hard}",
        remedy="" if ok else f"ulimit -Hn {MINIMUM_FILES}",
        required=False,
    )


def diagnose(settings: Settings) -> Iterator[Check]:
    """Make every check, cheap ones first."""
    release = os.uname().release
    machine = Machine(settings.data_dir, _os_release())
    root = check_root(machine)
    yield root
    yield check_kernel(release)
    yield check_user_namespaces(machine)
    yield check_overlay(machine, release)
    yield check_idmapped_mounts()
    yield check_loop_devices(machine)
    yield check_seccomp(machine)
    yield check_cgroups(machine)
    yield check_program(machine, "ip")
    yield check_program(machine, settings.runtime)
    yield check_program(machine, "catatonit", "tini-static")
    yield check_program(machine, "mmdebstrap", required=False)
    yield check_program(machine, "mkfs.ext4", required=False)
    if root.ok:
        yield from check_gateway(machine)
    yield check_data_directory(machine)
    yield check_resolvers(machine)
    yield check_open_files()


def _file_system(machine: Machine, place: Path) -> str:
    """Return the kind of file system that *place* is on."""
    best, kind = -1, "unknown"
    for line in read(machine.proc / "self/mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        point = Path(before.split()[4])
        if place.is_relative_to(point) and len(point.parts) >= best:
            best, kind = len(point.parts), after.split()[0]
    return kind


def _os_release() -> Mapping[str, str]:
    try:
        return platform.freedesktop_os_release()
    except OSError:
        return {}
