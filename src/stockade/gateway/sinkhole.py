"""The addresses that denied names are answered with.

Each denied name of a devbox gets an address of its own, so that a connection to it is
recorded, and refused, with the name that was meant, whatever the protocol. Nothing is
decided by these addresses: a name that has become allowed is dialled as any other.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

from stockade.names import Hostname
from stockade.policy.guardrails import Address

#: Shared address space (RFC 6598), beside the range of the slots.
SINKHOLE_NETWORK = IPv4Network("100.126.0.0/16")
MAX_NAMES = 8_192


class Sinkhole:
    """Denied names of one devbox and their addresses; the oldest are reused."""

    def __init__(self, *, max_names: int = MAX_NAMES) -> None:
        self._addresses: dict[Hostname, IPv4Address] = {}
        self._names: dict[IPv4Address, Hostname] = {}
        self._max_names = max_names
        self._next = 0

    def address_for(self, name: Hostname) -> IPv4Address:
        """The address that stands for *name*."""
        address = self._addresses.get(name)
        if address is None:
            address = SINKHOLE_NETWORK[1 + self._next % self._max_names]
            self._next += 1
            previous = self._names.get(address)
            if previous is not None:
                del self._addresses[previous]
            self._addresses[name] = address
            self._names[address] = name
        return address

    def name_of(self, address: Address) -> Hostname | None:
        """The denied name that *address* stands for, if it is one of ours."""
        return self._names.get(address) if isinstance(address, IPv4Address) else None


def is_sinkhole(address: Address) -> bool:
    """Whether *address* is one that stands for denied names."""
    return isinstance(address, IPv4Address) and address in SINKHOLE_NETWORK
