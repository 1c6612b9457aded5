"""What a check finds, and the facts it is made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

# Need -> (Debian and Ubuntu package, Fedora package).
PACKAGES: Mapping[str, tuple[str, str]] = {
    "crun": ("crun", "crun"),
    "runc": ("runc", "runc"),
    "catatonit": ("catatonit", "catatonit"),
    "mmdebstrap": ("mmdebstrap", "mmdebstrap"),
    "libnftables": ("libnftables1", "nftables"),
    "mkfs.ext4": ("e2fsprogs", "e2fsprogs"),
}


@dataclass(frozen=True, slots=True)
class Check:
    """One finding. *remedy* says what to do, and is empty when all is well.

    Devboxes start without what is not *required*, with less than full function.
    """

    name: str
    ok: bool
    detail: str
    remedy: str = ""
    required: bool = True


@dataclass(frozen=True, slots=True)
class Machine:
    """The facts that checks are made from."""

    data_dir: Path
    os_release: Mapping[str, str]
    proc: Path = Path("/proc")
    dev: Path = Path("/dev")
    cgroup: Path = Path("/sys/fs/cgroup")
    resolv_conf: Path = Path("/etc/resolv.conf")


def install_command(need: str, os_release: Mapping[str, str]) -> str:
    """Name the command that installs *need* on that distribution."""
    debian, fedora = PACKAGES.get(need, (need, need))
    families = {os_release.get("ID", ""), *os_release.get("ID_LIKE", "").split()}
    if families & {"debian", "ubuntu"}:
        return f"apt-get install {debian}"
    if families & {"fedora", "rhel"}:
        return f"dnf install {fedora}"
    return f"install the package that Debian calls {debian} and Fedora {fedora}"


def read(path: Path) -> str:
    """Return what the file at *path* says, nothing if it cannot be read."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""
