"""What is wrong or suspicious in a policy, entry by entry.

The policy itself is well formed when it gets here; what is judged is whether it says
what its author means. A finding is a warning where a rule opens more than it seems to,
or does nothing, and an info where it is merely worth knowing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache

from publicsuffixlist import PublicSuffixList

from stockade.names import Hostname, HostPattern
from stockade.policy.guardrails import Zone, zone_of
from stockade.policy.model import AllowedCidr, NetworkPolicy

# Below these anybody can have a name of their own, for a moment and without a trace.
# The public suffix list knows most such places; these it does not.
SHARED_SUFFIXES = (
    "amazonaws.com",
    "azureedge.net",
    "fastly.net",
    "googleapis.com",
    "googleusercontent.com",
    "ngrok.io",
    "sharepoint.com",
    "trycloudflare.com",
    "windows.net",
)
# Hosts that take and show whatever anybody sends them.
DROP_BOXES = (
    "gist.github.com",
    "gist.githubusercontent.com",
    "pastebin.com",
    "s3.amazonaws.com",
    "storage.googleapis.com",
    "transfer.sh",
    "webhook.site",
)
_BROAD = {4: 8, 6: 16}
_SAMPLES = 256


class Severity(StrEnum):
    """How much a finding matters."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report. *field* is the part of the policy it speaks of."""

    line: int
    severity: Severity
    field: str
    message: str


@dataclass(frozen=True, slots=True)
class HostEntry:
    """An entry of `allowed_hostnames`, and the line it stands on."""

    pattern: HostPattern
    line: int


@dataclass(frozen=True, slots=True)
class CidrEntry:
    """An entry of `allowed_cidrs`, and the line it stands on."""

    allowed: AllowedCidr
    line: int


def lint(
    policy: NetworkPolicy, hosts: Sequence[HostEntry], cidrs: Sequence[CidrEntry]
) -> list[Finding]:
    """Judge *policy*, whose lists are given as they stand in its file."""
    found = [
        *_whole(policy),
        *_hosts(hosts),
        *(finding for entry in hosts for finding in _host(entry)),
        *_redundant_cidrs(cidrs),
        *(finding for entry in cidrs for finding in _cidr(entry)),
    ]
    return sorted(found, key=lambda finding: finding.line)


def _whole(policy: NetworkPolicy) -> Iterator[Finding]:
    lists = bool(policy.allowed_hostnames or policy.allowed_cidrs)
    if policy.allow_all and lists:
        yield Finding(
            1,
            Severity.WARNING,
            "allow_all",
            "allow_all is set: the lists are kept but not applied",
        )
    if not policy.allow_all and not lists:
        yield Finding(1, Severity.INFO, "name", "nothing is allowed: this denies all")


def _hosts(hosts: Sequence[HostEntry]) -> Iterator[Finding]:
    """Compare the entries of `allowed_hostnames` with one another."""
    first: dict[HostPattern, int] = {}
    for entry in hosts:
        if entry.pattern in first:
            yield _host_finding(
                entry,
                Severity.WARNING,
                f"stands on line {first[entry.pattern]} already; one of them counts",
            )
        first.setdefault(entry.pattern, entry.line)
    for pattern, line in first.items():
        entry = HostEntry(pattern, line)
        wider = _wider(pattern, first)
        if wider is not None:
            yield _host_finding(
                entry,
                Severity.WARNING,
                f"does nothing: {wider} on line {first[wider]} covers it",
            )
        apex = HostPattern(pattern.suffix, wildcard=False)
        if pattern.wildcard and apex not in first and _wider(apex, first) is None:
            yield _host_finding(
                entry,
                Severity.INFO,
                f'does not cover {apex} itself; add "{apex}" if that is needed too',
            )


def _wider(pattern: HostPattern, others: dict[HostPattern, int]) -> HostPattern | None:
    """Return the wildcard among *others* that covers all of *pattern*, if one does."""
    rest = pattern.suffix.text
    while "." in rest:
        rest = rest.partition(".")[2]
        above = HostPattern(Hostname(rest), wildcard=True)
        if above in others:
            return above
    return None


def _host(entry: HostEntry) -> Iterator[Finding]:
    """Judge one host name or wildcard by what stands behind it."""
    pattern, suffix = entry.pattern, entry.pattern.suffix.text
    if pattern.wildcard and _suffixes().is_public(suffix):
        yield _host_finding(
            entry,
            Severity.WARNING,
            f"anybody can register a name below {suffix}: this allows them all",
        )
    elif pattern.wildcard and _reaches(pattern, SHARED_SUFFIXES):
        yield _host_finding(
            entry,
            Severity.WARNING,
            f"many customers of one provider share {suffix}: this allows them all",
        )
    boxes = [name for name in DROP_BOXES if pattern.covers(Hostname(name))]
    if boxes:
        yield _host_finding(
            entry,
            Severity.WARNING,
            f"anybody can store data at {', '.join(boxes)}: what a devbox sends "
            "there, others can fetch",
        )


def _reaches(pattern: HostPattern, suffixes: Sequence[str]) -> bool:
    """Whether the wildcard covers every name below one of *suffixes*."""
    own = pattern.suffix.text
    return any(suffix == own or suffix.endswith("." + own) for suffix in suffixes)


@cache
def _suffixes() -> PublicSuffixList:
    return PublicSuffixList()


def _redundant_cidrs(cidrs: Sequence[CidrEntry]) -> Iterator[Finding]:
    for index, entry in enumerate(cidrs):
        for other in (*cidrs[:index], *cidrs[index + 1 :]):
            later = other.line > entry.line
            if entry.allowed == other.allowed and later:
                continue  # reported once, at the second
            if _covers(other.allowed, entry.allowed):
                yield _cidr_finding(
                    entry,
                    Severity.WARNING,
                    f"does nothing: {other.allowed} on line {other.line} covers it",
                )
                break


def _covers(wide: AllowedCidr, narrow: AllowedCidr) -> bool:
    """Whether *wide* allows all that *narrow* allows."""
    if wide.ports and wide.ports != narrow.ports:
        return False
    one, two = wide.cidr, narrow.cidr
    return (
        one.version == two.version
        and one.prefixlen <= two.prefixlen
        and two.network_address in one
    )


def _cidr(entry: CidrEntry) -> Iterator[Finding]:
    """Judge one range by its size and by what lies in it."""
    cidr = entry.allowed.cidr
    zones = _zones(entry.allowed)
    if zones.isdisjoint({Zone.PUBLIC, Zone.PRIVATE}):
        kinds = ", ".join(sorted(zone.value.replace("_", "-") for zone in zones))
        yield _cidr_finding(
            entry,
            Severity.WARNING,
            f"never takes effect: no policy opens these addresses ({kinds})",
        )
        return
    if cidr.prefixlen <= _BROAD[cidr.version]:
        yield _cidr_finding(
            entry,
            Severity.WARNING,
            f"covers {cidr.num_addresses:.1g} addresses; names are not checked there",
        )
    if zones & {Zone.PRIVATE} and Zone.PUBLIC not in zones:
        yield _cidr_finding(
            entry, Severity.INFO, "opens a private network to the devbox"
        )


def _zones(allowed: AllowedCidr) -> set[Zone]:
    """Return the kinds of address in a range: all of a small one, else a sample."""
    first = int(allowed.cidr.network_address)
    size = allowed.cidr.num_addresses
    step = max(1, size // _SAMPLES)
    numbers = {*range(first, first + size, step), first + size - 1}
    kind = type(allowed.cidr.network_address)
    return {zone_of(kind(number)) for number in numbers}


def _host_finding(entry: HostEntry, severity: Severity, message: str) -> Finding:
    text = f"{entry.pattern}: {message}"
    return Finding(entry.line, severity, "allowed_hostnames", text)


def _cidr_finding(entry: CidrEntry, severity: Severity, message: str) -> Finding:
    text = f"{entry.allowed}: {message}"
    return Finding(entry.line, severity, "allowed_cidrs", text)
