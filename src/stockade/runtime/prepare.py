"""Makes a box directory: ids, root file system, files inside, OCI bundle.

The order matters. What is outside the directory is written to its record before it is
made, so that a box can be taken away whenever its owner was killed.
"""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path, PurePosixPath

from stockade.errors import InvalidRequest, Unavailable
from stockade.runtime import (
    binds,
    bundle,
    cgroups,
    etc,
    idrange,
    overlay,
    program,
    removal,
    seccomp,
    trust,
)
from stockade.runtime.binds import Volume
from stockade.runtime.bundle import BoxPlan, BoxUser
from stockade.runtime.cgroups import Cgroups
from stockade.runtime.images import Image
from stockade.runtime.oci import find_program
from stockade.runtime.record import BoxRecord
from stockade.runtime.syscalls import files_owned_by
from stockade.runtime.tree import Tree
from stockade.runtime.userns import IdMap, user_namespace
from stockade.runtime.users import find_user
from stockade.spec import DevboxSpec

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_HOSTNAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,62}[A-Za-z0-9])?")
_INITS = ("catatonit", "tini-static")
# Enough for any server, little enough for programs that close all there could be.
_OPEN_FILES = 65_536


@dataclass(frozen=True, slots=True)
class BoxRequest:
    """One devbox to prepare: its spec, its image, and what this machine adds.

    *directory* belongs to the box. *disk* holds the files that the devbox writes: by
    default among the image's disks, else in *directory*. With *keep_disk* it is not
    deleted with the box. *runtime* is a program's name or path. *volumes* are directories
    of ours; with *nesting*, the box may mount and make namespaces: it builds images.
    """

    spec: DevboxSpec
    image: Image
    directory: Path
    nameservers: Sequence[IPv4Address | IPv6Address] = ()
    disk: Path | None = None
    keep_disk: bool = False
    volumes: tuple[Volume, ...] = ()
    nesting: bool = False
    runtime: str = "crun"
    trust_host_cas: bool = True
    extra_ca_files: tuple[Path, ...] = ()
    console_size: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class PreparedBox:
    """A box that can be created, as *plan* says. *owner* is its user and group outside.

    *warning* says which limits cannot be enforced here, if any.
    """

    record: BoxRecord
    plan: BoxPlan
    owner: tuple[int, int]
    warning: str | None


def prepare(request: BoxRequest) -> PreparedBox:
    """Make everything up to a bundle that the runtime can create from."""
    spec, directory = request.spec, request.directory
    _check(spec)
    runtime, init = find_program(request.runtime), find_init(alone=not spec.argv)
    machine = cgroups.detect()
    machine.prime()
    directory.chmod(0o711)
    overlay.check_reachable(directory)
    image = trust.extend(
        request.image, request.extra_ca_files, anchors=request.trust_host_cas
    )
    record = _reserve(request, runtime, machine)
    base = record.id_base
    root = _mount_root(request, image.layers, record)
    with files_owned_by(base), Tree(root) as tree:
        user, workdir = _furnish(tree, request, image.env, base)
    plan = BoxPlan(
        user=user,
        workdir=workdir,
        rootfs=str(root),
        id_base=base,
        id_count=idrange.RANGE_SIZE,
        init=init,
        seccomp=seccomp.profile(os.uname().machine, nesting=request.nesting),
        cgroup=record.cgroup or None,
        limits=machine.limits,
        cgroup_mount=machine.mode is cgroups.CgroupMode.V2,
        rlimits=_rlimits(),
        env=image.env,
        mounts=(
            *binds.prepare(spec.mounts, directory, user, base),
            *binds.prepare_volumes(request.volumes, directory, base),
        ),
        console_size=request.console_size,
        nesting=request.nesting,
    )
    _write_bundle(directory, spec, plan)
    owner = (base + user.uid, base + user.gid)
    return PreparedBox(record, plan, owner, machine.warning)


def _mount_root(request: BoxRequest, layers: Sequence[Path], record: BoxRecord) -> Path:
    base = record.id_base
    whole = [IdMap(0, base, idrange.RANGE_SIZE)]
    with user_namespace(whole, whole) as namespace:
        return overlay.mount_root(
            request.directory,
            Path(record.disk),
            layers,
            namespace,
            base,
            # A mount without it must stay so, and a builder changes what it has mounted.
            nodev=not request.nesting,
        )


def _reserve(request: BoxRequest, runtime: str, machine: Cgroups) -> BoxRecord:
    """Reserve ids, write down what will be outside the directory, make the disk."""
    directory, name = request.directory, request.spec.id
    ids = idrange.reserve(directory.parent / "ids", directory)
    disk = _disk(request)
    limited = machine.mode is not cgroups.CgroupMode.NONE
    record = BoxRecord(
        container=name,
        program=runtime,
        disk=str(disk),
        reservation=str(ids.reservation),
        id_base=ids.base,
        cgroup=f"/stockade-{name}" if limited else "",
        keep_disk=request.keep_disk,
    )
    record.save(directory)
    if request.keep_disk and request.image.lease is not None:
        # It outlives this process, and is worth nothing without what is below it.
        request.image.lease.keep(disk)
    # Closed: root of the devbox makes set-user-id files, which on disk are root's.
    disk.mkdir(mode=0o700, parents=True, exist_ok=True)
    disk.chmod(0o700)
    (disk / removal.OWNER).write_text(str(directory))
    return record


def _disk(request: BoxRequest) -> Path:
    """Choose where the files of the devbox go; sweep what a reboot left there."""
    if request.disk is not None:
        return request.disk
    disks = request.image.disks
    if disks is None:
        return request.directory / "data"
    removal.sweep_disks(disks)
    return disks / request.spec.id


def _furnish(
    tree: Tree, request: BoxRequest, env: Mapping[str, str], base: int
) -> tuple[BoxUser, str]:
    """Write what the devbox needs into its root; return its user and directory."""
    spec = request.spec
    user = find_user(tree, spec.user)
    etc.write_network_files(tree, spec.hostname, request.nameservers)
    # Made here, so that the runtime's umask does not close the way to them.
    places = [(volume.target, True) for volume in request.volumes]
    binds.make_targets(
        tree, [(bundle.INIT, False), *binds.targets(spec.mounts), *places]
    )
    workdir = _make_workdir(tree, request, user, base)
    if spec.argv:
        program.check(
            tree,
            spec.argv[0],
            path={"PATH": bundle.DEFAULT_PATH, **env, **spec.env}["PATH"],
            workdir=workdir,
            mounts=[mount.target for mount in spec.mounts],
        )
    return user, workdir


def find_init(*, alone: bool = False) -> str:
    """Return the path of a small init program that can run in any image.

    One that is *alone* runs without a command to wait for.
    """
    for name in _INITS[:1] if alone else _INITS:
        found = shutil.which(name)
        if found is not None:
            return str(Path(found).resolve())
    other = "" if alone else " (or tini)"
    raise Unavailable(
        f"no init program for devboxes: install the package catatonit{other}"
    )


def _check(spec: DevboxSpec) -> None:
    if not _ID.fullmatch(spec.id):
        raise InvalidRequest(f"not a devbox id: {spec.id!r}")
    if not _HOSTNAME.fullmatch(spec.hostname):
        raise InvalidRequest(f"not a host name for a devbox: {spec.hostname!r}")
    for name in spec.env:
        if not name or "=" in name:
            raise InvalidRequest(f"not the name of a variable: {name!r}")
    if any("\0" in text for text in (*spec.argv, *spec.env, *spec.env.values())):
        raise InvalidRequest("a command or variable has a NUL character in it")
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
    made = tree.directory(wanted, owner=(base + user.uid, base + user.gid))
    try:
        real = tree.real_path(made)
    finally:
        os.close(made)
    if any(real.is_relative_to(place) for place in bundle.SYSTEM_PLACES):
        # A runtime that goes there before it has closed its own files could be led out.
        raise InvalidRequest(f"{wanted} cannot be the working directory: it is {real}")
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
