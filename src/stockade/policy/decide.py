"""The one decision: whether a flow may leave, and why."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address
from typing import NamedTuple

from stockade.names import Hostname, HostPattern
from stockade.policy.guardrails import Address, Guardrails, Zone, zone_of
from stockade.policy.model import AllowedCidr, NetworkPolicy, Transport


class Verdict(StrEnum):
    """What happens to a flow."""

    ALLOW = "allow"
    DENY = "deny"


class Reason(StrEnum):
    """Why a decision fell. A closed set; `docs/policy.md` explains each."""

    ALLOW_ALL = "allow_all"
    ALLOWED_CIDR = "allowed_cidr"
    ALLOWED_HOSTNAME = "allowed_hostname"

    HOSTNAME_NOT_ALLOWED = "hostname_not_allowed"
    ADDRESS_NOT_ALLOWED = "address_not_allowed"
    POLICY_UNAVAILABLE = "policy_unavailable"
    GUARDRAIL_LOOPBACK = "guardrail_loopback"
    GUARDRAIL_LINK_LOCAL = "guardrail_link_local"
    GUARDRAIL_METADATA = "guardrail_metadata"
    GUARDRAIL_MULTICAST = "guardrail_multicast"
    GUARDRAIL_RESERVED = "guardrail_reserved"
    GUARDRAIL_PRIVATE = "guardrail_private"
    GUARDRAIL_HOST = "guardrail_host"
    GUARDRAIL_OPERATOR = "guardrail_operator"
    TLS_UNPARSEABLE = "tls_unparseable"
    TLS_WITHOUT_NAME = "tls_without_name"
    HTTP_UNPARSEABLE = "http_unparseable"
    HTTP_CONNECT = "http_connect"
    HTTP_HOST_MISMATCH = "http_host_mismatch"
    HTTP2_CLEARTEXT = "http2_cleartext"
    DNS_UNPARSEABLE = "dns_unparseable"
    DNS_TYPE = "dns_type"
    QUIC = "quic"
    NO_CLIENT_DATA = "no_client_data"
    TOO_MANY_FLOWS = "too_many_flows"
    TOO_MANY_QUESTIONS = "too_many_questions"


_GUARDRAIL = {
    Zone.LOOPBACK: Reason.GUARDRAIL_LOOPBACK,
    Zone.LINK_LOCAL: Reason.GUARDRAIL_LINK_LOCAL,
    Zone.METADATA: Reason.GUARDRAIL_METADATA,
    Zone.MULTICAST: Reason.GUARDRAIL_MULTICAST,
    Zone.RESERVED: Reason.GUARDRAIL_RESERVED,
    Zone.PRIVATE: Reason.GUARDRAIL_PRIVATE,
}


class Flow(NamedTuple):
    """What is to be decided: a destination, and the name that was verified for it.

    *address* is None while only the name is known (a DNS question, a name to dial);
    *name* is None while nothing verified one. *is_host* says that the address belongs
    to the machine itself.
    """

    port: int
    transport: Transport = Transport.TCP
    address: Address | None = None
    name: Hostname | None = None
    is_host: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """Verdict, reason, and the rule that matched as the policy writes it, if one did."""

    verdict: Verdict
    reason: Reason
    rule: str | None = None

    @property
    def allowed(self) -> bool:
        """Whether the flow may leave."""
        return self.verdict is Verdict.ALLOW


_ALLOW_ALL = Decision(Verdict.ALLOW, Reason.ALLOW_ALL, "allow_all")
_DENIALS = {reason: Decision(Verdict.DENY, reason) for reason in Reason}


def deny(reason: Reason) -> Decision:
    """A denial that no rule of a policy made."""
    return _DENIALS[reason]


class _Cidrs:
    """CIDR rules of one IP version by prefix length: one probe a length."""

    def __init__(self, entries: list[AllowedCidr], width: int) -> None:
        tables: dict[int, dict[int, list[AllowedCidr]]] = {}
        for entry in entries:
            shift = width - entry.cidr.prefixlen
            key = int(entry.cidr.network_address) >> shift
            tables.setdefault(shift, {}).setdefault(key, []).append(entry)
        self._tables = sorted(tables.items())

    def covering(self, address: Address) -> list[AllowedCidr]:
        """The rules whose range holds *address*, the narrowest first."""
        number = int(address)
        return [
            entry
            for shift, table in self._tables
            for entry in table.get(number >> shift, ())
        ]


class CompiledPolicy:
    """A policy prepared for decisions whose cost does not grow with its size.

    Names are found in sets, one probe a label; addresses one probe a prefix length.
    """

    def __init__(self, policy: NetworkPolicy) -> None:
        self.policy = policy
        self._exact = {
            pattern.suffix.text: pattern
            for pattern in policy.allowed_hostnames
            if not pattern.wildcard
        }
        self._wildcard = {
            pattern.suffix.text: pattern
            for pattern in policy.allowed_hostnames
            if pattern.wildcard
        }
        self._allowed: dict[HostPattern, Decision] = {}
        cidrs = policy.allowed_cidrs
        self._cidrs4 = _Cidrs([entry for entry in cidrs if entry.cidr.version == 4], 32)
        self._cidrs6 = _Cidrs(
            [entry for entry in cidrs if entry.cidr.version == 6], 128
        )

    @property
    def allow_all(self) -> bool:
        """Whether every public destination is allowed."""
        return self.policy.allow_all

    def pattern_for(self, name: Hostname) -> HostPattern | None:
        """The entry of `allowed_hostnames` that covers *name*, an exact one first."""
        found = self._exact.get(name.text)
        if found is not None or not self._wildcard:
            return found
        rest = name.text
        while True:
            _, dot, rest = rest.partition(".")
            if not dot:
                return None
            found = self._wildcard.get(rest)
            if found is not None:
                return found

    def allow(self, pattern: HostPattern) -> Decision:
        """What is decided where *pattern*, an entry of `allowed_hostnames`, covers."""
        decision = self._allowed.get(pattern)
        if decision is None:
            decision = Decision(
                Verdict.ALLOW, Reason.ALLOWED_HOSTNAME, f"allowed_hostnames: {pattern}"
            )
            self._allowed[pattern] = decision
        return decision

    def cidrs_for(self, address: Address) -> list[AllowedCidr]:
        """The entries of `allowed_cidrs` whose range holds *address*, whatever the port."""
        if isinstance(address, IPv4Address):
            return self._cidrs4.covering(address)
        return self._cidrs6.covering(address)


def decide(policy: CompiledPolicy, guardrails: Guardrails, flow: Flow) -> Decision:
    """Say whether *flow* may leave, and why.

    The first that applies decides:

    1. an address no policy opens (the machine itself, loopback, link-local, metadata,
       multicast, reserved, closed by the operator)        -> deny
    2. an allowed CIDR that covers address and port, unless `allow_all` -> allow
    3. a private address that the operator did not open, and no allowed CIDR covers ->
       deny
    4. `allow_all`                                         -> allow
    5. an allowed hostname that covers the verified name   -> allow
    6. nothing                                             -> deny
    """
    address = flow.address
    if address is not None:
        zone = zone_of(address)
        barred = _barred(guardrails, flow, address, zone)
        if barred is not None:
            return deny(barred)
        for entry in policy.cidrs_for(address):
            if entry.allows(flow.port, flow.transport) and not policy.allow_all:
                return Decision(
                    Verdict.ALLOW, Reason.ALLOWED_CIDR, f"allowed_cidrs: {entry}"
                )
        if zone is Zone.PRIVATE and not guardrails.is_opened(address):
            return deny(Reason.GUARDRAIL_PRIVATE)
    if policy.allow_all:
        return _ALLOW_ALL
    if flow.name is None:
        return deny(Reason.ADDRESS_NOT_ALLOWED)
    pattern = policy.pattern_for(flow.name)
    if pattern is None:
        return deny(Reason.HOSTNAME_NOT_ALLOWED)
    return policy.allow(pattern)


def _barred(
    guardrails: Guardrails, flow: Flow, address: Address, zone: Zone
) -> Reason | None:
    """Why no policy opens *address*, or None."""
    if zone not in (Zone.PUBLIC, Zone.PRIVATE):
        return _GUARDRAIL[zone]
    if flow.is_host:
        return Reason.GUARDRAIL_HOST
    if guardrails.is_closed(address):
        return Reason.GUARDRAIL_OPERATOR
    return None
