"""What a run reached and what it was denied, in a few lines for a person."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import ip_address

from stockade.gateway.flowlog import FlowRecord, Kind
from stockade.policy.decide import Reason, Verdict

MAX_LINES = 40
#: Hosts that are told apart. A devbox can make up as many names as it likes.
MAX_HOSTS = 10_000
OTHERS = "(other hosts)"

_BY_ADDRESS = frozenset(
    (
        Reason.ADDRESS_NOT_ALLOWED,
        Reason.GUARDRAIL_PRIVATE,
        Reason.TLS_WITHOUT_NAME,
        Reason.NO_CLIENT_DATA,
    )
)

_UNITS = ("B", "kB", "MB", "GB", "TB")
_THOUSAND = 1_000


@dataclass(slots=True)
class _Reached:
    """One host and port that was reached."""

    flows: int = 0
    up: int = 0
    down: int = 0
    errors: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Denied:
    """One host, port and reason that was denied."""

    count: int = 0
    asked: int = 0


class Summary:
    """Adds up flow records as they come."""

    def __init__(self) -> None:
        self._reached: dict[tuple[str, int | None], _Reached] = {}
        self._denied: dict[tuple[str, int | None, Reason], _Denied] = {}
        self._unresolved: dict[str, str] = {}
        self.missed = 0
        #: Packets that the kernel refused: forged sources, other protocols.
        self.spoofed = 0
        self.rejected = 0

    def add(self, record: FlowRecord) -> None:
        """Count one completed record."""
        if record.verdict is Verdict.DENY:
            self._add_denied(record)
        elif record.kind is Kind.DNS:
            if record.error and record.name and len(self._unresolved) < MAX_HOSTS:
                self._unresolved[record.name] = record.error
        else:
            self._add_reached(record)

    def lines(self) -> Iterable[str]:
        """The summary, line by line; nothing when nothing happened."""
        denied, reached = self._denied_lines(), self._reached_lines()
        unresolved = [
            f"  failed   {name}: {error}" for name, error in self._unresolved.items()
        ]
        refused = list(self._refused_lines())
        if not (denied or reached or unresolved or refused or self.missed):
            return
        hosts = len({host for host, _ in self._reached})
        closed = len({host for host, _, _ in self._denied})
        yield f"stockade: {_plural(hosts, 'host')} reached, {closed} denied"
        lines = [*denied, *refused, *unresolved, *reached]
        yield from lines[:MAX_LINES]
        if len(lines) > MAX_LINES:
            yield f"  … and {len(lines) - MAX_LINES} more; --flows FILE has them all"
        if self.missed:
            yield f"  {self.missed} flow records were missed by this summary"

    def _add_denied(self, record: FlowRecord) -> None:
        is_question = record.kind is Kind.DNS
        host = _shown(record.name or record.address or "(unreadable)")
        key = (host, None if is_question else record.port, record.reason)
        if key not in self._denied and len(self._denied) >= MAX_HOSTS:
            key = (OTHERS, None, record.reason)
        entry = self._denied.setdefault(key, _Denied())
        if is_question:
            entry.asked += record.count
        else:
            entry.count += record.count

    def _add_reached(self, record: FlowRecord) -> None:
        key = (_shown(record.name or record.address or "?"), record.port)
        if key not in self._reached and len(self._reached) >= MAX_HOSTS:
            key = (OTHERS, None)
        entry = self._reached.setdefault(key, _Reached())
        entry.flows += 1
        entry.up += record.bytes_up
        entry.down += record.bytes_down
        if record.error and not record.bytes_down:  # Others got what they came for.
            entry.errors[record.error] = entry.errors.get(record.error, 0) + 1

    def _refused_lines(self) -> Iterable[str]:
        if self.rejected:
            yield (
                f"  denied   {_plural(self.rejected, 'packet')} of protocols other than "
                "TCP and UDP, or to the gateway itself"
            )
        if self.spoofed:
            yield f"  denied   {_plural(self.spoofed, 'packet')} with a forged source"

    def _reached_lines(self) -> list[str]:
        lines = []
        for (host, port), entry in sorted(self._reached.items(), key=str):
            errors = "; ".join(entry.errors)
            where = f"{host}:{port}" if port is not None else host
            lines.append(
                f"  reached  {where}  {_plural(entry.flows, 'connection')}, "
                f"{_size(entry.up)} up, {_size(entry.down)} down"
                + (f"  ({errors})" if errors else "")
            )
        return lines

    def _denied_lines(self) -> list[str]:
        lines = []
        connected = {(h, r) for h, port, r in self._denied if port is not None}
        for (host, port, reason), entry in sorted(self._denied.items(), key=str):
            if port is None and (host, reason) in connected:
                continue  # The connection that followed the question says it all.
            where = f"{host}:{port}" if port is not None else host
            times = entry.count or entry.asked
            what = "" if port is not None else " as a DNS question"
            lines.append(
                f"  denied   {where}  {_plural(times, 'time')}{what}: {reason}"
                + advice(host, port, reason)
            )
        return lines


def advice(host: str, port: int | None, reason: Reason) -> str:
    """The option that would permit a denied flow, if one would."""
    if reason is Reason.HOSTNAME_NOT_ALLOWED and host != OTHERS:
        return f"  (--allow {host})"
    if reason in _BY_ADDRESS:
        try:
            address = ip_address(host)
        except ValueError:
            return ""
        ports = f"@{port}" if port else ""
        return f"  (--allow-cidr {address}/{address.max_prefixlen}{ports})"
    return ""


def _shown(host: str) -> str:
    """A host as it may be written to a terminal, which takes orders from characters."""
    return "".join(letter if letter.isprintable() else "?" for letter in host)


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _size(count: int) -> str:
    """A number of bytes, with three digits at most."""
    amount = float(count)
    for unit in _UNITS[:-1]:
        if amount < _THOUSAND:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.3g} {unit}"
        amount /= _THOUSAND
    return f"{amount:.3g} {_UNITS[-1]}"
