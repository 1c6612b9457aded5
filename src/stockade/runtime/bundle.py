"""A devbox as an OCI runtime configuration: pure, a value in and a value out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from stockade.spec import DevboxSpec

#: Where the init process is found inside.
INIT = "/.stockade/init"
#: What is not the image's: the runtime mounts over it.
SYSTEM_PLACES = ("/proc", "/sys", "/dev", "/.stockade")

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# What root inside may do to its own files, processes and network namespace. Not raw
# packets, not interfaces or routes, no mounts, no devices, no tracing of other users.
CAPABILITIES = tuple(
    f"CAP_{name}"
    for name in "CHOWN DAC_OVERRIDE FOWNER FSETID KILL NET_BIND_SERVICE SETFCAP SETGID"
    " SETPCAP SETUID SYS_CHROOT".split()
)
# A builder of images mounts them. It does not hand this on to the steps it runs.
_NESTING = ("CAP_SYS_ADMIN",)
_MASKED = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
)
_READ_ONLY = (
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
)
# The machine's own daemons outlive devboxes when memory runs out.
_OOM_SCORE_ADJUSTMENT = 500
_CPU_PERIOD = 100_000


@dataclass(frozen=True, slots=True)
class BoxUser:
    """A user as seen inside a devbox."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str


@dataclass(frozen=True, slots=True)
class BindMount:
    """A path of the host, prepared for mounting, and where it goes."""

    source: str
    target: str
    read_only: bool


@dataclass(frozen=True, slots=True)
class BoxPlan:
    """All that was found out or prepared for one devbox, beside its spec.

    *limits* is what the machine's cgroups can bound; *rlimits* are (soft, hard)
    by OCI name; *cgroup* is the path of the devbox's own group, None without cgroups.
    """

    user: BoxUser
    workdir: str
    rootfs: str
    id_base: int
    id_count: int
    init: str
    seccomp: Mapping[str, Any]
    cgroup: str | None = None
    limits: frozenset[str] = frozenset()
    cgroup_mount: bool = False
    rlimits: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    mounts: tuple[BindMount, ...] = ()
    console_size: tuple[int, int] | None = None
    nesting: bool = False


@dataclass(frozen=True, slots=True)
class BoxCommand:
    """Another command in a devbox that runs.

    Its *env* goes before the devbox's, which it has unless it is *apart*.
    """

    argv: tuple[str, ...]
    user: BoxUser
    workdir: str
    env: Mapping[str, str] = field(default_factory=dict)
    apart: bool = False


def render_command(
    spec: DevboxSpec, plan: BoxPlan, command: BoxCommand
) -> dict[str, Any]:
    """Render the OCI process of a command: confined as the first one was."""
    given = {} if command.apart else spec.env
    env = {**given, **command.env}
    image = {} if command.apart else plan.env
    return {
        **_process(
            replace(spec, env=env, terminal=False),
            replace(plan, user=command.user, workdir=command.workdir, env=image),
        ),
        "args": list(command.argv),
    }


def render(spec: DevboxSpec, plan: BoxPlan) -> dict[str, Any]:
    """Render the OCI configuration of one devbox."""
    return {
        "ociVersion": "1.0.2",
        "root": {"path": plan.rootfs, "readonly": False},
        "hostname": spec.hostname,
        "process": _process(spec, plan),
        "mounts": [*_system_mounts(plan), *_bind_mounts(plan)],
        "linux": _linux(spec, plan),
    }


def environment(spec: DevboxSpec, plan: BoxPlan) -> dict[str, str]:
    """Compose the environment: defaults, then the image's and ours, then the spec's."""
    defaults = {
        "PATH": DEFAULT_PATH,
        "HOME": plan.user.home,
        "USER": plan.user.name,
        "LANG": "C.UTF-8",
    }
    if spec.terminal:
        defaults["TERM"] = "xterm-256color"
    return {**defaults, **plan.env, **spec.env}


def _process(spec: DevboxSpec, plan: BoxPlan) -> dict[str, Any]:
    bounds = [*CAPABILITIES, *(_NESTING if plan.nesting else ())]
    granted = bounds if plan.user.uid == 0 else []
    process: dict[str, Any] = {
        "terminal": spec.terminal,
        "user": {
            "uid": plan.user.uid,
            "gid": plan.user.gid,
            "additionalGids": list(plan.user.groups),
        },
        # Alone it waits for no command, and only adopts and reaps.
        "args": [INIT, "--", *spec.argv] if spec.argv else [INIT, "-P"],
        "cwd": plan.workdir,
        "env": [f"{name}={value}" for name, value in environment(spec, plan).items()],
        "capabilities": {
            # What a set-user-id program can get at most.
            "bounding": bounds,
            "effective": granted,
            "permitted": granted,
            "inheritable": [],
            "ambient": [],
        },
        "noNewPrivileges": not spec.allow_sudo,
        "oomScoreAdj": _OOM_SCORE_ADJUSTMENT,
        "rlimits": [
            {"type": name, "soft": soft, "hard": hard}
            for name, (soft, hard) in plan.rlimits.items()
        ],
    }
    if spec.terminal and plan.console_size is not None:
        columns, rows = plan.console_size
        process["consoleSize"] = {"width": columns, "height": rows}
    return process


def _system_mounts(plan: BoxPlan) -> list[dict[str, Any]]:
    closed = ["nosuid", "noexec", "nodev"]
    device = ["nosuid", "strictatime", "mode=755", "size=65536k"]
    terminals = ["newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]
    mounts = [
        _mount("/proc", "proc", "proc", closed),
        _mount("/dev", "tmpfs", "tmpfs", device),
        _mount("/dev/pts", "devpts", "devpts", ["nosuid", "noexec", *terminals]),
        _mount("/dev/shm", "tmpfs", "shm", [*closed, "mode=1777", "size=1g"]),  # noqa: S108
        _mount("/dev/mqueue", "mqueue", "mqueue", closed),
        _mount("/sys", "sysfs", "sysfs", [*closed, "ro"]),
    ]
    if plan.cgroup_mount:
        mounts.append(_mount("/sys/fs/cgroup", "cgroup", "cgroup", [*closed, "ro"]))
    return mounts


def _bind_mounts(plan: BoxPlan) -> list[dict[str, Any]]:
    init = BindMount(plan.init, INIT, read_only=True)
    return [
        _mount(
            bind.target,
            "bind",
            bind.source,
            ["bind", "nosuid", "nodev", "ro" if bind.read_only else "rw"],
        )
        for bind in (init, *plan.mounts)
    ]


def _mount(
    target: str, kind: str, source: str, options: Sequence[str]
) -> dict[str, Any]:
    return {
        "destination": target,
        "type": kind,
        "source": source,
        "options": list(options),
    }


def _linux(spec: DevboxSpec, plan: BoxPlan) -> dict[str, Any]:
    ids = {"containerID": 0, "hostID": plan.id_base, "size": plan.id_count}
    # The network namespace has no path: the runtime makes it, empty but for `lo`.
    kinds = ("pid", "ipc", "uts", "mount", "cgroup", "network", "user")
    linux: dict[str, Any] = {
        "namespaces": [{"type": kind} for kind in kinds],
        "uidMappings": [ids],
        "gidMappings": [ids],
        "maskedPaths": list(_MASKED),
        "readonlyPaths": list(_READ_ONLY),
        "rootfsPropagation": "private",
        "seccomp": plan.seccomp,
        # Every user may serve on any port: there is nobody else in this namespace.
        "sysctl": {"net.ipv4.ip_unprivileged_port_start": "0"},
    }
    if plan.cgroup is not None:
        linux["cgroupsPath"] = plan.cgroup
        linux["resources"] = _resources(spec, plan.limits)
    return linux


def _resources(spec: DevboxSpec, limits: frozenset[str]) -> dict[str, Any]:
    resources: dict[str, Any] = {}
    if "pids" in limits:
        resources["pids"] = {"limit": spec.pids}
    if "memory" in limits and spec.memory is not None:
        resources["memory"] = {"limit": spec.memory}
        if "swap" in limits:
            # Memory and swap together: none of it swapped.
            resources["memory"]["swap"] = spec.memory
    if "cpu" in limits and spec.cpus is not None:
        quota = max(1000, round(spec.cpus * _CPU_PERIOD))
        resources["cpu"] = {"period": _CPU_PERIOD, "quota": quota}
    return resources
