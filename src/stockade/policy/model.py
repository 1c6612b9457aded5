"""Network policies as values, and their one reading from and to plain mappings.

The field names are those of the Runloop API (`/v1/network-policies`). A policy that
exists is well formed: everything that can be wrong is refused while it is read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network, ip_network

from stockade.errors import HostnameError, InvalidRequest
from stockade.names import HostPattern

MAX_NAME = 255
MAX_HOSTNAMES = 1_000
MAX_CIDRS = 1_000
MAX_PORT = 65_535

_FLAGS = (
    "allow_all",
    "allow_devbox_to_devbox",
    "allow_agent_gateway",
    "allow_mcp_gateway",
    "allow_runloop_mirrors",
)
_FIELDS = frozenset(
    ("name", "description", "allowed_hostnames", "allowed_cidrs", *_FLAGS)
)


class Transport(StrEnum):
    """The transport protocol of a flow."""

    TCP = "TCP"
    UDP = "UDP"


@dataclass(frozen=True, slots=True)
class PortRule:
    """A range of ports, both ends included. No *protocol* means TCP and UDP."""

    port: int
    end_port: int
    protocol: Transport | None = None

    def covers(self, port: int, protocol: Transport) -> bool:
        """Whether this rule allows *port* of *protocol*."""
        return self.port <= port <= self.end_port and self.protocol in (None, protocol)

    def __str__(self) -> str:
        """As `443`, `8000-8080/TCP`."""
        ports = f"{self.port}-{self.end_port}"
        if self.port == self.end_port:
            ports = str(self.port)
        return f"{ports}/{self.protocol}" if self.protocol else ports

    @classmethod
    def from_mapping(cls, raw: object, where: str) -> PortRule:
        """Read `{port, end_port?, protocol?}`."""
        values = _mapping(raw, where, frozenset(("port", "end_port", "protocol")))
        port = _port(values.get("port"), f"{where}.port")
        end = values.get("end_port")
        end_port = port if end is None else _port(end, f"{where}.end_port")
        if end_port < port:
            raise InvalidRequest(f"{where}: end_port {end_port} is below port {port}")
        protocol = values.get("protocol")
        if protocol not in (None, *Transport):
            raise InvalidRequest(
                f'{where}.protocol: {protocol!r} is not "TCP" or "UDP"'
            )
        return cls(
            port, end_port, None if protocol is None else Transport(str(protocol))
        )

    def to_mapping(self) -> dict[str, object]:
        """The reverse of `from_mapping`."""
        values: dict[str, object] = {"port": self.port}
        if self.end_port != self.port:
            values["end_port"] = self.end_port
        if self.protocol:
            values["protocol"] = str(self.protocol)
        return values


@dataclass(frozen=True, slots=True)
class AllowedCidr:
    """A range of addresses. No *ports* means all ports and protocols."""

    cidr: IPv4Network | IPv6Network
    ports: tuple[PortRule, ...] = ()

    def allows(self, port: int, protocol: Transport) -> bool:
        """Whether a flow to an address in the range may use *port* of *protocol*."""
        return not self.ports or any(rule.covers(port, protocol) for rule in self.ports)

    def __str__(self) -> str:
        """As `10.0.0.0/8` or `10.0.0.0/8 443,8000-8080/TCP`."""
        ports = ",".join(str(rule) for rule in self.ports)
        return f"{self.cidr} {ports}" if ports else str(self.cidr)

    @classmethod
    def from_mapping(cls, raw: object, where: str) -> AllowedCidr:
        """Read `{cidr, ports?}`; the CIDR in canonical form, host bits zero."""
        values = _mapping(raw, where, frozenset(("cidr", "ports")))
        text = values.get("cidr")
        if not isinstance(text, str):
            raise InvalidRequest(f"{where}.cidr: {text!r} is not a text")
        try:
            cidr = ip_network(text, strict=True)
        except ValueError:
            raise InvalidRequest(f"{where}.cidr: {_cidr_advice(text)}") from None
        if "%" in text:  # A zone means something on one machine only.
            raise InvalidRequest(f"{where}.cidr: {text!r}: write it without the zone")
        if str(cidr) != text.lower():
            raise InvalidRequest(f'{where}.cidr: write {text!r} as "{cidr}"')
        ports = _list(values.get("ports"), f"{where}.ports", MAX_CIDRS)
        return cls(
            cidr,
            tuple(
                PortRule.from_mapping(rule, f"{where}.ports[{index}]")
                for index, rule in enumerate(ports)
            ),
        )

    def to_mapping(self) -> dict[str, object]:
        """The reverse of `from_mapping`."""
        return {
            "cidr": str(self.cidr),
            "ports": [rule.to_mapping() for rule in self.ports],
        }


@dataclass(frozen=True, slots=True)
class NetworkPolicy:
    """Named egress rules. With a name only, it denies everything."""

    name: str
    description: str | None = None
    allow_all: bool = False
    allowed_hostnames: tuple[HostPattern, ...] = ()
    allowed_cidrs: tuple[AllowedCidr, ...] = ()
    allow_devbox_to_devbox: bool = False
    allow_agent_gateway: bool = False
    allow_mcp_gateway: bool = False
    allow_runloop_mirrors: bool = False

    @classmethod
    def from_mapping(cls, raw: Mapping[str, object]) -> NetworkPolicy:
        """Read a policy. Raises `InvalidRequest` that names the field.

        An absent field and null are the same. Duplicated host names are folded, their
        order is kept. An unknown field is refused: a misspelt restriction is none.
        """
        values = _mapping(raw, "", _FIELDS)
        flags = {flag: _flag(values.get(flag), flag) for flag in _FLAGS}
        if flags["allow_all"]:
            flags["allow_devbox_to_devbox"] = True
        description = values.get("description")
        if description is not None and not isinstance(description, str):
            raise InvalidRequest(f"description: {description!r} is not a text")
        cidrs = _list(values.get("allowed_cidrs"), "allowed_cidrs", MAX_CIDRS)
        return cls(
            name=_name(values.get("name")),
            description=description,
            allowed_hostnames=_hostnames(values.get("allowed_hostnames")),
            allowed_cidrs=tuple(
                AllowedCidr.from_mapping(entry, f"allowed_cidrs[{index}]")
                for index, entry in enumerate(cidrs)
            ),
            **flags,
        )

    def to_mapping(self) -> dict[str, object]:
        """The reverse of `from_mapping`, every field present."""
        values: dict[str, object] = {
            "name": self.name,
            "description": self.description,
            "allowed_hostnames": [str(pattern) for pattern in self.allowed_hostnames],
            "allowed_cidrs": [entry.to_mapping() for entry in self.allowed_cidrs],
        }
        values.update({flag: getattr(self, flag) for flag in _FLAGS})
        return values


def _mapping(raw: object, where: str, known: frozenset[str]) -> Mapping[str, object]:
    if not isinstance(raw, Mapping):
        raise InvalidRequest(f"{where or 'a policy'}: expected fields, got {raw!r}")
    unknown = sorted(str(key) for key in raw if key not in known)
    if unknown:
        inside = f"{where}: " if where else ""
        fields = ", ".join(sorted(known))
        raise InvalidRequest(
            f"{inside}unknown field {unknown[0]!r}; the fields are {fields}"
        )
    return raw


def _list(raw: object, where: str, limit: int) -> Sequence[object]:
    if raw is None:
        return ()
    if not isinstance(raw, list | tuple):
        raise InvalidRequest(f"{where}: expected a list, got {raw!r}")
    if len(raw) > limit:
        raise InvalidRequest(
            f"{where}: {len(raw)} entries, at most {limit} are allowed"
        )
    return raw


def _name(raw: object) -> str:
    if not isinstance(raw, str) or not 1 <= len(raw) <= MAX_NAME:
        raise InvalidRequest(f"name: a text of 1 to {MAX_NAME} characters is required")
    return raw


def _flag(raw: object, where: str) -> bool:
    if raw is None:
        return False
    if not isinstance(raw, bool):
        raise InvalidRequest(f"{where}: {raw!r} is not true or false")
    return raw


def _port(raw: object, where: str) -> int:
    if isinstance(raw, bool) or not isinstance(raw, int) or not 1 <= raw <= MAX_PORT:
        raise InvalidRequest(f"{where}: {raw!r} is not a port from 1 to {MAX_PORT}")
    return raw


def _hostnames(raw: object) -> tuple[HostPattern, ...]:
    patterns: dict[HostPattern, None] = {}
    for index, text in enumerate(_list(raw, "allowed_hostnames", MAX_HOSTNAMES)):
        where = f"allowed_hostnames[{index}]"
        if not isinstance(text, str):
            raise InvalidRequest(f"{where}: {text!r} is not a text")
        try:
            patterns[HostPattern.parse(text)] = None
        except HostnameError as error:
            raise InvalidRequest(f"{where}: {error}") from None
    return tuple(patterns)


def _cidr_advice(text: str) -> str:
    """What to write instead of a CIDR that cannot be read as it stands."""
    try:
        return f'{text!r} has host bits set; write "{ip_network(text, strict=False)}"'
    except ValueError:
        return f'{text!r} is not a CIDR such as "10.0.0.0/8"'
