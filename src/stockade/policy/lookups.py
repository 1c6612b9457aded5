"""Which names a devbox was told for which address.

A lookup says that the gateway answered this devbox's question for a name with this
address. It opens nothing by itself: the name must be allowed at the moment of the flow,
and the gateway dials the name. So lookups are kept for the life of the devbox, and
clients that cache addresses for hours keep working; only their number is bounded.
"""

from __future__ import annotations

from stockade.names import Hostname
from stockade.policy.guardrails import Address

MAX_ADDRESSES = 16_384
MAX_NAMES = 64


class LookupTable:
    """The lookups of one devbox, the oldest forgotten first."""

    def __init__(
        self, *, max_addresses: int = MAX_ADDRESSES, max_names: int = MAX_NAMES
    ) -> None:
        self._names: dict[Address, dict[Hostname, None]] = {}
        self._max_addresses = max_addresses
        self._max_names = max_names

    def __len__(self) -> int:
        """How many addresses are known."""
        return len(self._names)

    def record(self, name: Hostname, address: Address) -> None:
        """Note that the devbox was told *address* for *name*."""
        names = self._names.pop(address, None)
        if names is None:
            names = {}
            if len(self._names) >= self._max_addresses:
                del self._names[next(iter(self._names))]
        self._names[address] = names
        names.pop(name, None)
        if len(names) >= self._max_names:
            del names[next(iter(names))]
        names[name] = None

    def names(self, address: Address) -> tuple[Hostname, ...]:
        """The names the devbox was told *address* for, the latest first."""
        return tuple(reversed(self._names.get(address, ())))
