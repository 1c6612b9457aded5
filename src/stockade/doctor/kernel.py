"""Checks of the kernel and of the privileges over it."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

from stockade.doctor.check import Check, Machine, read

# Overlay over idmapped layers, which keeps the owners in an image right.
MINIMUM_KERNEL = (5, 19)
# CAP_SETGID, SETUID, NET_BIND_SERVICE, NET_ADMIN, NET_RAW, SYS_CHROOT, SYS_ADMIN, MKNOD
_CAPABILITIES = (6, 7, 10, 12, 13, 18, 21, 27)
_SYS_MOUNT_SETATTR = 442


def check_root(machine: Machine) -> Check:
    """Whether this process may make namespaces, mounts and interfaces."""
    status = read(machine.proc / "self/status")
    held = int(_field(status, "CapEff") or "0", 16)
    if os.geteuid() != 0:
        return Check("root", ok=False, detail="not root", remedy="sudo stockade doctor")
    lacking = [number for number in _CAPABILITIES if not held >> number & 1]
    if lacking:
        return Check(
            "root",
            ok=False,
            detail=f"root lacks capabilities {', '.join(map(str, lacking))}",
            remedy="start stockade outside the container, or give it all privileges",
        )
    return Check("root", ok=True, detail="root with the capabilities it needs")


def check_kernel(release: str) -> Check:
    """Whether the kernel is new enough."""
    numbers = release.split("-", maxsplit=1)[0].split(".")[:2]
    version = tuple(int(number) for number in numbers if number.isdigit())
    wanted = ".".join(map(str, MINIMUM_KERNEL))
    return Check(
        "kernel",
        ok=version >= MINIMUM_KERNEL,
        detail=release,
        remedy="" if version >= MINIMUM_KERNEL else f"boot Linux {wanted} or later",
    )


def check_user_namespaces(machine: Machine) -> Check:
    """Whether root inside a devbox can be nobody outside."""
    limit = read(machine.proc / "sys/user/max_user_namespaces")
    if limit == "":
        return Check(
            "user namespaces",
            ok=False,
            detail="the kernel has none",
            remedy="boot a kernel with CONFIG_USER_NS",
        )
    if int(limit) == 0:
        return Check(
            "user namespaces",
            ok=False,
            detail="switched off",
            remedy="sysctl -w user.max_user_namespaces=15000",
        )
    return Check("user namespaces", ok=True, detail=f"up to {limit}")


def check_loop_devices(machine: Machine) -> Check:
    """Whether `stockade serve` can give each devbox a disk of its own size."""
    control = machine.dev / "loop-control"
    ok = control.exists() and os.access(control, os.R_OK | os.W_OK)
    return Check(
        "loop devices",
        ok=ok,
        detail="available" if ok else "none: `stockade serve` cannot start devboxes",
        remedy=""
        if ok
        else "modprobe loop; in a container, let it have the loop devices",
        required=False,
    )


def check_overlay(machine: Machine, release: str) -> Check:
    """Whether an image can be shared by devboxes without copying it."""
    known = "overlay" in read(machine.proc / "filesystems").split()
    modules = Path("/lib/modules") / release / "kernel/fs/overlayfs"
    if known or any(modules.glob("overlay.ko*")):
        return Check("overlay", ok=True, detail="available")
    return Check(
        "overlay",
        ok=False,
        detail="the kernel has no overlay file system",
        remedy="boot a kernel with CONFIG_OVERLAY_FS",
    )


def check_idmapped_mounts() -> Check:
    """Whether the kernel can mount a directory with other owners (mount_setattr)."""
    libc = ctypes.CDLL(None, use_errno=True)
    # An empty call: refused by a kernel that knows it, unknown to one that does not.
    libc.syscall(_SYS_MOUNT_SETATTR, -1, None, 0, None, 0)
    if ctypes.get_errno() == errno.ENOSYS:
        return Check(
            "idmapped mounts",
            ok=False,
            detail="mount_setattr is unknown or filtered here",
            remedy="boot Linux 5.19 or later, outside a filtering container",
        )
    return Check("idmapped mounts", ok=True, detail="available")


def check_seccomp(machine: Machine) -> Check:
    """Whether system calls can be filtered."""
    actions = read(machine.proc / "sys/kernel/seccomp/actions_avail").split()
    if {"errno", "allow"} <= set(actions):
        return Check("seccomp", ok=True, detail="filters available")
    return Check(
        "seccomp",
        ok=False,
        detail="the kernel has no system call filters",
        remedy="boot a kernel with CONFIG_SECCOMP_FILTER",
    )


def check_cgroups(machine: Machine) -> Check:
    """Whether memory, processes and CPU time of a devbox can be limited."""
    unified = set(read(machine.cgroup / "cgroup.controllers").split())
    legacy = {
        name for name in ("memory", "pids", "cpu") if (machine.cgroup / name).is_dir()
    }
    lacking = sorted({"memory", "pids", "cpu"} - (unified | legacy))
    version = "v2" if unified else "v1"
    if not lacking:
        detail = f"{version}: memory, pids, cpu"
        return Check("cgroups", ok=True, detail=detail, required=False)
    return Check(
        "cgroups",
        ok=False,
        detail=f"no controller for {', '.join(lacking)}: such limits are not enforced",
        remedy="mount -t cgroup2 none /sys/fs/cgroup",
        required=False,
    )


def _field(status: str, name: str) -> str | None:
    for line in status.splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return value.strip()
    return None
