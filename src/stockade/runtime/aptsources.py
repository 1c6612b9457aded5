"""The machine's own Debian package sources, for building an image from them.

What the machine installs its packages from is what its operator chose and can reach. Only
the Debian archive's sources are taken: an image must not depend on other repositories
that happen to be set up here. Both formats of apt are read; one is written.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

# Options of a source that say how to check it; others (architectures, languages) are of
# the machine.
_KEPT_OPTIONS = ("Signed-By", "Check-Valid-Until", "Check-Date", "Date-Max-Future")
_ONE_LINE = re.compile(r"deb\s+(?:\[(?P<options>[^\]]*)\]\s+)?(?P<rest>\S.*)")
_KEYRING = re.compile(r"/\S*debian-archive-\S+")
_REMOTE = frozenset({"http", "https"})

# Options of apt that are about reaching a mirror and believing it.
_APT_OPTIONS = re.compile(
    r"Acquire::(?:https?(?:::|$)|Retries$|ForceIPv[46]$|Check-Valid-Until$|Check-Date$"
    r"|Max-FutureTime$|AllowInsecureRepositories$)"
)
_APT_LINE = re.compile(r'(?P<name>[A-Za-z0-9:_./*-]+) "(?P<value>[^"\n]*)";')
# Those of them that hold wherever the image runs, not only on this machine.
_APT_LASTING = re.compile(r"Acquire::(?:Check-Valid-Until|Check-Date|Max-FutureTime)")


@dataclass(frozen=True, slots=True)
class Source:
    """One entry of a sources file, binary packages only."""

    uris: tuple[str, ...]
    suites: tuple[str, ...]
    components: tuple[str, ...]
    options: tuple[tuple[str, str], ...] = field(default=())

    def render(self) -> str:
        """Write the entry as a stanza of the newer format."""
        lines = [
            "Types: deb",
            f"URIs: {' '.join(self.uris)}",
            f"Suites: {' '.join(self.suites)}",
            f"Components: {' '.join(self.components)}",
            *(f"{name}: {value}" for name, value in self.options),
        ]
        return "\n".join(lines) + "\n"


def parse_stanzas(text: str) -> Iterator[Source]:
    """Yield the enabled sources of a `.sources` file."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    for block in re.split(r"\n[ \t]*\n", "\n".join(lines)):
        fields: dict[str, str] = {}
        name = ""
        for line in block.splitlines():
            if line[:1].isspace() and name:
                fields[name] += f"\n{line}"
            elif ":" in line:
                name, _, value = line.partition(":")
                name = name.strip().title()
                fields[name] = value.strip()
        if "deb" in fields.get("Types", "").split() and _is_enabled(fields):
            yield Source(
                tuple(fields.get("Uris", "").split()),
                tuple(fields.get("Suites", "").split()),
                tuple(fields.get("Components", "").split()),
                _kept(fields),
            )


def parse_lines(text: str) -> Iterator[Source]:
    """Yield the sources of a `sources.list` file."""
    for line in text.splitlines():
        found = _ONE_LINE.fullmatch(line.partition("#")[0].strip())
        if found is None:
            continue
        uri, *words = found["rest"].split()
        pairs = (option.partition("=") for option in (found["options"] or "").split())
        fields = {name.strip().title(): value for name, _, value in pairs}
        if words:
            yield Source((uri,), (words[0],), tuple(words[1:]), _kept(fields))


def of_debian(sources: Iterable[Source], codename: str) -> list[Source]:
    """Choose the sources of the Debian archive for the release *codename*.

    They are told by what no other repository has together: a suite of the release, the
    component main, a directory named debian, and no key but the archive's own.
    """
    suites = {
        codename,
        *(f"{codename}-{pocket}" for pocket in ("updates", "security")),
        f"{codename}/updates",
    }
    chosen = []
    for source in sources:
        kept = tuple(suite for suite in source.suites if suite in suites)
        mine = tuple(uri for uri in source.uris if _is_archive(uri))
        key = dict(source.options).get("Signed-By", "")
        if kept and mine and "main" in source.components and _is_archive_key(key):
            chosen.append(Source(mine, kept, ("main",), source.options))
    complete = any(codename in source.suites for source in chosen)
    return chosen if complete else []


def apt_options(dump: str) -> dict[str, str]:
    """Choose from the output of `apt-config dump` what the mirror needs."""
    found = (_APT_LINE.fullmatch(line.strip()) for line in dump.splitlines())
    return {
        match["name"]: match["value"]
        for match in found
        if match is not None and match["value"] and _APT_OPTIONS.match(match["name"])
    }


def lasting(options: dict[str, str]) -> dict[str, str]:
    """Choose the options that belong into an image."""
    return {
        name: value for name, value in options.items() if _APT_LASTING.fullmatch(name)
    }


def _is_enabled(fields: dict[str, str]) -> bool:
    return fields.get("Enabled", "yes").lower() not in {"no", "false", "0"}


def _kept(fields: dict[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple((name, fields[name]) for name in _KEPT_OPTIONS if fields.get(name))


def _is_archive(uri: str) -> bool:
    parts = urlsplit(uri)
    last = parts.path.rstrip("/").rpartition("/")[2]
    return parts.scheme in _REMOTE and last.startswith("debian")


def _is_archive_key(key: str) -> bool:
    # No key: apt's own set, which the build replaces by the archive's keyring.
    return not key or _KEYRING.fullmatch(key) is not None
