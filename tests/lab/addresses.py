"""Who lives where in the lab.

IPv4 servers have TEST-NET-3 addresses, IPv6 servers the same last number in
2001:db8::/32. Every lab uses the same addresses: they exist in its own namespaces only.
"""

from __future__ import annotations

from typing import Final

# The link between the two namespaces.
HOST4: Final = "198.51.100.2"
INET4: Final = "198.51.100.1"
HOST6: Final = "2001:db8:ffff::2"
INET6: Final = "2001:db8:ffff::1"
HOST_MAC: Final = "02:00:00:00:00:02"
INET_MAC: Final = "02:00:00:00:00:01"

# Further addresses of the host: one public, one private.
HOST_EXTRA4: Final = "198.51.100.22"
HOST_PRIVATE4: Final = "10.20.0.2"

RESOLVER4: Final = "203.0.113.53"
RESOLVER6: Final = "2001:db8::53"
PRIVATE4: Final = "10.20.0.10"
METADATA4: Final = "169.254.169.254"

# The fence of `Lab.sync`: packets to this address are not counted as traffic.
FENCE4: Final = "203.0.113.254"
FENCE_PORT: Final = 9

# Addresses the kernel serves by itself: a connection is refused with a reset, unless a
# benchmark started a server of its own there (`Lab.popen_inet`).
DIRECT4: Final = tuple(f"203.0.113.{n}" for n in range(200, 210))
DIRECT6: Final = tuple(f"2001:db8::{n}" for n in range(200, 210))

ROTATING4: Final = tuple(f"203.0.113.{n}" for n in range(100, 116))
ROTATING6: Final = tuple(f"2001:db8::{n}" for n in range(100, 116))


def v4(number: int) -> str:
    """The IPv4 address of server *number*."""
    return f"203.0.113.{number}"


def v6(number: int) -> str:
    """The IPv6 address of server *number*."""
    return f"2001:db8::{number}"
