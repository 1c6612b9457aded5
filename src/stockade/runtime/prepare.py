"""Makes a box directory: ids, root file system, files inside, OCI bundle.

The order matters. What is outside the directory is written to its record before it is
made, so that a box can be taken away whenever its owner was killed.
"""

from __future__ import annotations

import json
import os
import platform
import re
import resource
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path, PurePosixPath

from stockade.errors import InvalidRequest, Unavailable
from stockade.runtime import binds, bundle, cgroups, etc, idrange, overlay, seccomp
from stockade.runtime.bundle import BoxPlan, BoxUser
from stockade.runtime.images import Image
from stockade.runtime.oci import find_program
from stockade.runtime.record import BoxRecord
from stockade.runtime.syscalls import files_owned_by
from stockade.runtime.tree import Tree
from stockade.runtime.userns import IdMap, user_namespace
from stockade.runtime.users import find_user
from stockade.spec import DevboxSpec

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_INITS = ("catatonit", "tini-static")
# Enough for any server, little enough for programs that close all there could be.
_OPEN_FILES = 65_536


@dataclass(frozen=True, slots=True)
class BoxRequest:
    """One devbox to prepare: its spec, its image, and what this machine adds.

    *directory* is made and belongs to the box; *disk* (inside it by default) holds the
    files that the devbox writes. *runtime* is a program's name or path.
    """

    spec: DevboxSpec
    image: Image
    directory: Path
    nameservers: Sequence[IPv4Address | IPv6Address] = ()
    disk: Path | None = None
    runtime: str = "crun"
    trust_host_cas: bool = True
    console_size: tuple[int, int] | None = None


def prepare(request: BoxRequest) -> BoxRecord:
    """Make everything up to a bundle that the runtime can create from."""
    spec, directory = request.spec, request.directory
    _check(spec)
    program, init = find_program(request.runtime), find_init()
    machine = cgroups.detect()
    directory.chmod(0o711)
    overlay.check_reachable(directory)
    ids = idrange.reserve(directory.parent / "ids", directory)
    disk = request.disk or directory / "data"
    cgroup = "" if machine.mode is cgroups.CgroupMode.NONE else f"/stockade-{spec.id}"
    record = BoxRecord(
        container=spec.id,
        program=program,
        disk=str(disk),
        reservation=str(ids.reservation),
        id_base=ids.base,
        cgroup=cgroup,
    )
    record.save(directory)
    disk.mkdir(mode=0o700, parents=True, exist_ok=True)
    whole = [IdMap(0, ids.base, idrange.RANGE_SIZE)]
    with user_namespace(whole, whole) as namespace:
        root = overlay.mount_root(
            directory, disk, request.image.layers, namespace, ids.base
        )
    with files_owned_by(ids.base), Tree(root) as tree:
        user = find_user(tree, spec.user)
        etc.write_network_files(tree, spec.hostname, request.nameservers)
        workdir = _make_workdir(tree, request, user, ids.base)
    plan = BoxPlan(
        user=user,
        workdir=workdir,
        rootfs=str(root),
        id_base=ids.base,
        id_count=idrange.RANGE_SIZE,
        init=init,
        seccomp=seccomp.profile(platform.machine()),
        cgroup=cgroup or None,
        limits=machine.limits,
        cgroup_mount=machine.mode is cgroups.CgroupMode.V2,
        rlimits=_rlimits(),
        env=request.image.env,
        mounts=binds.prepare(spec.mounts, directory, user, ids.base),
        console_size=request.console_size,
    )
    _write_bundle(directory, spec, plan)
    return record


def find_init() -> str:
    """Return the path of a small init program that can run in any image."""
    for name in _INITS:
        found = shutil.which(name)
        if found is not None:
            return str(Path(found).resolve())
    raise Unavailable(
        "no init program for devboxes: install the package catatonit (or tini)"
    )


def _check(spec: DevboxSpec) -> None:
    if not _ID.fullmatch(spec.id):
        raise InvalidRequest(f"not a devbox id: {spec.id!r}")
    if not spec.argv:
        raise InvalidRequest("a devbox needs a command to run")
    binds.check(spec.mounts)


def _make_workdir(tree: Tree, request: BoxRequest, user: BoxUser, base: int) -> str:
    """Choose the working directory and make it, for the user, if it is missing."""
    wanted = request.spec.workdir or request.image.workdir or user.home
    if not wanted.startswith("/"):
        raise InvalidRequest(f"the working directory must be absolute: {wanted!r}")
    if any(
        PurePosixPath(wanted).is_relative_to(mount.target)
        for mount in request.spec.mounts
    ):
        return wanted
    os.close(tree.directory(wanted, owner=(base + user.uid, base + user.gid)))
    return wanted


def _rlimits() -> dict[str, tuple[int, int]]:
    """Choose resource limits that this process may hand on: none is raised."""
    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY or files > _OPEN_FILES:
        files = _OPEN_FILES
    return {"RLIMIT_NOFILE": (files, files), "RLIMIT_CORE": (0, 0)}


def _write_bundle(directory: Path, spec: DevboxSpec, plan: BoxPlan) -> None:
    """Write config.json for our eyes only: the environment may hold secrets."""
    text = json.dumps(bundle.render(spec, plan))
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    descriptor = os.open(directory / "config.json", flags, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
