"""Slots: the network positions that devboxes are handed, and hand back.

A slot is an index; everything else follows from it, so that nothing has to be stored.
Each slot is a veth pair with two addresses of each family: one for the gateway, one for
the devbox. The networks are ours by choice: 100.127.0.0/16 is the upper end of the
shared address space (RFC 6598), fd53:746f:636b::/112 is a unique local prefix (RFC
4193). They exist in the gateway namespace and in devboxes only, so they cannot clash
with the uplink's.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

SLOT_NETWORK4 = IPv4Network("100.127.0.0/16")
SLOT_NETWORK6 = IPv6Network("fd53:746f:636b::/112")
MAX_INDEX = 32_000
#: The name of a slot's interface in the gateway namespace starts so; the ruleset relies
#: on it.
INTERFACE_PREFIX = "sb"
#: The interface of a devbox, as it sees it.
DEVBOX_INTERFACE = "eth0"

# Below are lo and the interfaces that some kernels put into each new namespace (tunl0,
# sit0).
_FIRST_INTERFACE_INDEX = 1_000


@dataclass(frozen=True, slots=True, order=True)
class Slot:
    """One network position, from 0 to `MAX_INDEX`.

    >>> slot = Slot(0)
    >>> slot.interface, str(slot.gateway4), str(slot.devbox4)
    ('sb0', '100.127.0.2', '100.127.0.3')
    """

    index: int

    def __post_init__(self) -> None:
        if not 0 <= self.index <= MAX_INDEX:
            raise ValueError(f"not a slot index, 0 to {MAX_INDEX}: {self.index}")

    @property
    def interface(self) -> str:
        """The name of the gateway's end of the veth pair."""
        return f"{INTERFACE_PREFIX}{self.index}"

    @property
    def interface_index(self) -> int:
        """The kernel's number for the gateway's end, chosen to need no look-up."""
        return _FIRST_INTERFACE_INDEX + self.index

    @property
    def gateway4(self) -> IPv4Address:
        """The gateway's end of the /31: the devbox's default gateway and resolver."""
        return SLOT_NETWORK4[self._offset]

    @property
    def devbox4(self) -> IPv4Address:
        """The one IPv4 address the devbox may send from."""
        return SLOT_NETWORK4[self._offset + 1]

    @property
    def gateway6(self) -> IPv6Address:
        """The gateway's end of the /127."""
        return SLOT_NETWORK6[self._offset]

    @property
    def devbox6(self) -> IPv6Address:
        """The one IPv6 address the devbox may send from."""
        return SLOT_NETWORK6[self._offset + 1]

    @property
    def gateway_mac(self) -> str:
        """A locally administered address, fixed so that neighbours can be permanent."""
        return self._mac(0)

    @property
    def devbox_mac(self) -> str:
        """The devbox's hardware address."""
        return self._mac(1)

    def lane(self, lanes: int) -> int:
        """Which of so many lanes the slot is in; *lanes* is a power of two."""
        return (self._offset >> 1) % lanes

    @property
    def _offset(self) -> int:
        # The first pair stays unused: its lower address is the one of the network
        # itself.
        return 2 * (self.index + 1)

    def _mac(self, side: int) -> str:
        octets = (0x02, 0x53, 0x6B, side, self.index >> 8, self.index & 0xFF)
        return ":".join(f"{octet:02x}" for octet in octets)


def lane_address(version: int, number: int) -> IPv4Address | IPv6Address:
    """*number* where the addresses of a slot have the number of its lane."""
    return IPv4Address(number << 1) if version == 4 else IPv6Address(number << 1)
