"""From the first bytes of a client to the name it means, and the decision about that."""

from __future__ import annotations

from dataclasses import dataclass

from stockade.errors import HostnameError
from stockade.gateway.devboxes import AttachedDevbox
from stockade.gateway.first_bytes import FirstBytes, peek
from stockade.gateway.flowlog import Kind
from stockade.gateway.http import judge_head
from stockade.gateway.sides import Side
from stockade.names import Hostname
from stockade.policy.decide import Decision, Flow, Reason, Verdict, deny
from stockade.policy.guardrails import Address
from stockade.wire.sniff import Protocol, Sniffed

SSH_PORT = 22
TLS_PORT = 443
MAX_SHOWN = 255


@dataclass(frozen=True, slots=True)
class Judged:
    """What a connection is, and whether it may go on.

    *name* is verified; *shown* is what to write into the record when there is none.
    """

    kind: Kind
    decision: Decision
    name: Hostname | None = None
    shown: str | None = None
    is_ssh: bool = False

    @property
    def display(self) -> str | None:
        """The name as records and denials show it."""
        return str(self.name) if self.name else self.shown


@dataclass(frozen=True, slots=True)
class Meant:
    """What a client says it wants: the protocol, and the name if it gave a readable one."""

    kind: Kind
    name: Hostname | None
    shown: str | None


def meant_by(sniffed: Sniffed) -> Meant:
    """Read the name out of first bytes, without judging it."""
    kind = {
        Protocol.TLS: Kind.TLS,
        Protocol.HTTP: Kind.HTTP,
        Protocol.H2C: Kind.HTTP,
        Protocol.OPAQUE: Kind.TCP,
    }[sniffed.protocol]
    if sniffed.name is None:
        return Meant(kind, None, None)
    try:
        return Meant(kind, Hostname.parse(sniffed.name), None)
    except HostnameError:
        return Meant(kind, None, sniffed.name[:MAX_SHOWN])


def candidates(
    devbox: AttachedDevbox, address: Address, port: int
) -> tuple[Hostname, ...]:
    """The allowed names that this devbox was told *address* for, the latest first."""
    names = devbox.lookups.names(address)
    denied = devbox.sinkhole.name_of(address)
    if denied is not None:  # It may have become allowed since it was answered.
        names = (denied, *names)
    return tuple(name for name in names if devbox.decide(Flow(port, name=name)).allowed)


def judge(
    first: FirstBytes,
    devbox: AttachedDevbox,
    address: Address,
    port: int,
    base: Decision,
) -> Judged:
    """Judge a client that no rule on addresses allows. *base* is that denial.

    What cannot be read without doubt is denied as such: "could not tell" is never
    "nothing there".
    """
    if first.problem is not None:
        told = _told(devbox, address)
        if first.problem.protocol is Protocol.TLS:
            return Judged(Kind.TLS, deny(Reason.TLS_UNPARSEABLE), shown=told)
        return Judged(Kind.HTTP, deny(Reason.HTTP_UNPARSEABLE), shown=told)
    if first.expired and first.data:
        shown = _told(devbox, address)
        return Judged(Kind.TCP, deny(Reason.NO_CLIENT_DATA), shown=shown)
    sniffed = first.sniffed
    if sniffed is None or sniffed.protocol is Protocol.OPAQUE:
        return _judge_opaque(first, devbox, address, port, base)
    if sniffed.protocol is Protocol.H2C:
        return Judged(
            Kind.HTTP, deny(Reason.HTTP2_CLEARTEXT), shown=_told(devbox, address)
        )
    if sniffed.head is not None:
        name, decision = judge_head(devbox, sniffed.head, port)
        return Judged(Kind.HTTP, decision, name, sniffed.head.host[:MAX_SHOWN])
    if sniffed.name is None:
        if port == TLS_PORT:
            shown = _told(devbox, address)
            return Judged(Kind.TLS, deny(Reason.TLS_WITHOUT_NAME), shown=shown)
        return _judge_opaque(first, devbox, address, port, base, kind=Kind.TLS)
    meant = meant_by(sniffed)
    if meant.name is None:
        return Judged(Kind.TLS, deny(Reason.TLS_UNPARSEABLE), shown=meant.shown)
    decision = devbox.decide(Flow(port, name=meant.name))
    return Judged(Kind.TLS, decision, meant.name)


def _judge_opaque(
    first: FirstBytes,
    devbox: AttachedDevbox,
    address: Address,
    port: int,
    base: Decision,
    *,
    kind: Kind = Kind.TCP,
) -> Judged:
    """Judge a protocol that carries no name: a lookup of this devbox has to give one."""
    is_ssh = first.data.startswith(b"SSH-") or (port == SSH_PORT and not first.data)
    names = candidates(devbox, address, port)
    if names:
        decision = devbox.decide(Flow(port, name=names[0]))
        return Judged(kind, decision, names[0], is_ssh=is_ssh)
    told = _told(devbox, address)
    if told is not None and base.reason is not Reason.POLICY_UNAVAILABLE:
        base = Decision(Verdict.DENY, Reason.HOSTNAME_NOT_ALLOWED)
    return Judged(kind, base, shown=told, is_ssh=is_ssh)


def observe(
    client: Side, devbox: AttachedDevbox, address: Address
) -> tuple[Kind, Hostname | None, str | None]:
    """What a client that is judged by its address says first: kind, fact, and what to show.

    The fact is a name that DNS gave this devbox for this very address: a later policy
    that allows it need not cut the connection. HTTP has none, since its later requests
    would have to be read.
    """
    sniffed = peek(client)
    if sniffed is None:
        return Kind.TCP, None, None
    meant = meant_by(sniffed)
    known = devbox.lookups.names(address)
    fact = meant.name or (known[0] if known else None)
    if meant.kind is Kind.HTTP or fact not in known:
        fact = None
    return meant.kind, fact, str(meant.name) if meant.name else meant.shown


def _told(devbox: AttachedDevbox, address: Address) -> str | None:
    """The name the devbox most likely means: what it was told this address for."""
    denied = devbox.sinkhole.name_of(address)
    if denied is not None:
        return str(denied)
    names = devbox.lookups.names(address)
    return str(names[0]) if names else None
