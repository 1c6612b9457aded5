"""The packet witness: what arrived in the inet namespace, before any server saw it.

The ruleset counts every packet by protocol, destination and port, then hands TCP and
UDP for *any* address and port to the server process (tproxy keeps the original
destination), and lets the kernel answer the rest as its own (ICMP echo).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from typing import Final, NamedTuple

from tests.lab.addresses import DIRECT4, DIRECT6, FENCE4, v4, v6
from tests.lab.netns import inet, run

TCP_PORT: Final = 15001
UDP_PORT: Final = 15002


class Destination(NamedTuple):
    """Where a packet went. *port* is 0 for protocols without ports."""

    protocol: str
    address: str
    port: int


def _set(name: str, address: str) -> str:
    return f"""\
  set {name} {{
    type inet_proto . {address} . inet_service
    size 65535
    flags dynamic
    counter
  }}
"""


def render() -> str:
    """The ruleset of the inet namespace."""
    ported = "meta l4proto { tcp, udp }"
    other = "meta l4proto != { tcp, udp }"
    # Neighbour discovery and multicast listener reports are the link's own talk.
    chatter = (
        "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit,"
        " mld-listener-query, mld-listener-report, mld2-listener-report }"
    )
    return f"""\
table inet lab {{
{_set("seen4", "ipv4_addr")}{_set("seen6", "ipv6_addr")}
  chain count {{
    type filter hook prerouting priority raw; policy accept;
    iifname != "eth0" accept
    ip daddr {FENCE4} accept
    {chatter} accept
    meta nfproto ipv4 {ported} update @seen4 {{ meta l4proto . ip daddr . th dport }}
    meta nfproto ipv4 {other} update @seen4 {{ meta l4proto . ip daddr . 0 }}
    meta nfproto ipv6 {ported} update @seen6 {{ meta l4proto . ip6 daddr . th dport }}
    meta nfproto ipv6 {other} update @seen6 {{ meta l4proto . ip6 daddr . 0 }}
  }}
  chain deliver {{
    type filter hook prerouting priority mangle; policy accept;
    iifname != "eth0" accept
    ip daddr {v4(28)} drop
    ip6 daddr {v6(28)} drop
    ip daddr {{ {DIRECT4[0]}-{DIRECT4[-1]} }} accept
    ip6 daddr {{ {", ".join(DIRECT6)} }} accept
    meta nfproto ipv4 meta l4proto tcp tproxy ip to :{TCP_PORT} accept
    meta nfproto ipv4 meta l4proto udp tproxy ip to :{UDP_PORT} accept
    meta nfproto ipv6 meta l4proto tcp tproxy ip6 to :{TCP_PORT} accept
    meta nfproto ipv6 meta l4proto udp tproxy ip6 to :{UDP_PORT} accept
  }}
}}
"""


def install(lab: str) -> None:
    """Apply the ruleset."""
    run(["ip", "netns", "exec", inet(lab), "nft", "-f", "-"], stdin=render())


def packets(lab: str) -> Counter[Destination]:
    """How many packets arrived so far, by destination."""
    words = f"ip netns exec {inet(lab)} nft -j list table inet lab"
    counted: Counter[Destination] = Counter()
    for item in json.loads(run(words.split()))["nftables"]:
        for element in item.get("set", {}).get("elem", ()):
            protocol, address, port = element["elem"]["val"]["concat"]
            key = Destination(str(protocol), str(address), int(port))
            counted[key] = element["elem"]["counter"]["packets"]
    return counted


def matching(
    counted: Counter[Destination],
    *,
    address: str | None = None,
    protocol: str | None = None,
    port: int | None = None,
    besides: Iterable[str] = (),
) -> int:
    """The packets to these destinations; *besides* are addresses not to count."""
    return sum(
        count
        for key, count in counted.items()
        if address in (None, key.address)
        and protocol in (None, key.protocol)
        and port in (None, key.port)
        and key.address not in besides
    )
