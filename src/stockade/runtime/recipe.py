"""The images built here: what is in them, and how mmdebstrap is told to build them."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from stockade.command import run
from stockade.errors import StockadeError
from stockade.runtime import aptsources
from stockade.runtime.aptsources import Source

PACKAGES = (
    "bash",
    "ca-certificates",
    "coreutils",
    "curl",
    "dnsutils",
    "git",
    "iproute2",
    "netbase",
    "openssh-client",
    "procps",
    "python3",
    "python3-pip",
    "python3-venv",
    "sudo",
)
# What builds images from Dockerfiles, in a box of its own.
BUILDER_PACKAGES = ("bash", "buildah", "ca-certificates", "coreutils", "zstd")
# Earlier releases have a buildah that does not know here-documents.
_BUILDER_SUITE = "trixie"
# The release for machines that are not Debian.
_FALLBACK_SUITE = "trixie"
# Grows when what is built changes without a change of packages.
_REVISION = 1

# Run by mmdebstrap with the image's root directory as $1.
_CUSTOMIZE = """\
set -eu
chroot "$1" groupadd --gid 1000 user
chroot "$1" useradd --uid 1000 --gid 1000 --create-home --shell /bin/bash user
printf 'user ALL=(ALL:ALL) NOPASSWD: ALL\\n' > "$1/etc/sudoers.d/user"
chmod 0440 "$1/etc/sudoers.d/user"
rm -f "$1/etc/apt/apt.conf.d/99mmdebstrap" "$1/etc/resolv.conf" "$1/etc/hostname"
"""

# buildah looks for the program that makes networks, though it is to make none.
_CUSTOMIZE_BUILDER = """\
set -eu
mkdir -p "$1/usr/lib/podman"
ln -sf /bin/true "$1/usr/lib/podman/netavark"
rm -f "$1/etc/apt/apt.conf.d/99mmdebstrap" "$1/etc/resolv.conf" "$1/etc/hostname"
"""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How an image is built here. *digest* does not depend on the mirror."""

    suite: str
    sources: tuple[Source, ...] = ()
    apt_options: dict[str, str] = field(default_factory=dict)
    packages: tuple[str, ...] = PACKAGES
    customize: str = _CUSTOMIZE

    @property
    def digest(self) -> str:
        facts = [
            _REVISION,
            self.suite,
            os.uname().machine,
            self.packages,
            self.customize,
        ]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()

    def argv(self, target: Path, sources: Path | None) -> list[str]:
        """Return the command that builds into *target*; *sources* is a rendered file."""
        argv = [
            "mmdebstrap",
            "--verbose",
            "--mode=root",
            "--variant=minbase",
            "--format=directory",
            # The devices of a devbox are made by the runtime, in its own /dev.
            "--skip=output/dev,output/mknod",
            f"--include={','.join(self.packages)}",
        ]
        for name, value in self.apt_options.items():
            argv.append(f'--aptopt={name} "{value}"')
        argv.append(f"--customize-hook={self.customize}{self._keep_options()}")
        argv += [self.suite, str(target)]
        return argv if sources is None else [*argv, str(sources)]

    def _keep_options(self) -> str:
        """Return the shell line that writes the lasting apt options into the image."""
        lasting = aptsources.lasting(self.apt_options)
        if not lasting:
            return ""
        text = "".join(f'{name} "{value}";\\n' for name, value in lasting.items())
        return f'printf {shlex.quote(text)} > "$1/etc/apt/apt.conf.d/90mirror"\n'


def suite(os_release: Path = Path("/etc/os-release")) -> str:
    """Return the release to build: the machine's own if that is Debian."""
    facts = _facts(os_release)
    return facts.get("VERSION_CODENAME") or _FALLBACK_SUITE


def local_recipe(etc: Path = Path("/etc")) -> Recipe:
    """Compose the recipe from the machine's release, package sources and apt options."""
    release = suite(etc / "os-release")
    if "ID" not in _facts(etc / "os-release"):
        return Recipe(release)
    chosen = aptsources.of_debian(_configured(etc / "apt"), release)
    try:
        dump = run(["apt-config", "dump"], timeout=20).stdout
    except StockadeError:
        dump = ""  # the default mirror is then all there is
    return Recipe(release, tuple(chosen), aptsources.apt_options(dump))


def builder_recipe(etc: Path = Path("/etc")) -> Recipe:
    """Compose the recipe of the image that builds others, from the same sources."""
    local = local_recipe(etc)
    sources = tuple(
        replace(
            source,
            suites=tuple(
                name.replace(local.suite, _BUILDER_SUITE, 1) for name in source.suites
            ),
        )
        for source in local.sources
    )
    return replace(
        local,
        suite=_BUILDER_SUITE,
        sources=sources,
        packages=BUILDER_PACKAGES,
        customize=_CUSTOMIZE_BUILDER,
    )


def builder_digest() -> str:
    """The digest of the image that builds others, without asking what apt is set to."""
    return Recipe(
        _BUILDER_SUITE, packages=BUILDER_PACKAGES, customize=_CUSTOMIZE_BUILDER
    ).digest


def _configured(apt: Path) -> Sequence[Source]:
    found: list[Source] = []
    for path in (
        apt / "sources.list",
        *sorted((apt / "sources.list.d").glob("*.list")),
    ):
        if path.is_file():
            found += aptsources.parse_lines(path.read_text(errors="replace"))
    for path in sorted((apt / "sources.list.d").glob("*.sources")):
        found += aptsources.parse_stanzas(path.read_text(errors="replace"))
    return found


def _facts(os_release: Path) -> dict[str, str]:
    """Read what Debian says of itself; nothing on other distributions."""
    try:
        lines = os_release.read_text().splitlines()
    except OSError:
        return {}
    pairs = (line.partition("=") for line in lines)
    facts = {name: value.strip("\"'") for name, _, value in pairs}
    return facts if facts.get("ID") == "debian" else {}
