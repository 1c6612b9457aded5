"""The few files in which devboxes differ: resolv.conf, hosts, hostname."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address

from stockade.runtime.tree import Tree

_HOSTS = """\
127.0.0.1 localhost
::1 localhost ip6-localhost ip6-loopback
127.0.1.1 {hostname}
"""


def write_network_files(
    tree: Tree, hostname: str, nameservers: Sequence[IPv4Address | IPv6Address]
) -> None:
    """Write what name resolution inside reads, in place of what the image brings."""
    servers = "".join(f"nameserver {address}\n" for address in nameservers)
    # Two attempts of two seconds: the gateway is one hop away.
    tree.write("/etc/resolv.conf", f"{servers}options timeout:2 attempts:2\n".encode())
    tree.write("/etc/hosts", _HOSTS.format(hostname=hostname).encode())
    tree.write("/etc/hostname", f"{hostname}\n".encode())
