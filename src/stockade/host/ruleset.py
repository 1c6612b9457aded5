"""The nftables ruleset of the gateway namespace, as text.

It delivers a devbox's packets to the gateway's sockets or refuses them; it decides
nothing about names. There is no forwarding and no connection tracking: without this
ruleset, and with an empty one, nothing leaves a devbox either, for there is no route.

What varies with devboxes is in sets, so the number of rules does not grow with them.
Devboxes are spread over *lanes*, each with sockets of its own: what one devbox sends
waits in no queue in front of what is sent by those of other lanes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from stockade.host.slots import (
    INTERFACE_PREFIX,
    SLOT_NETWORK4,
    SLOT_NETWORK6,
    Slot,
    lane_address,
)

#: The plain sockets for questions to the devbox's own gateway address.
DNS_PORT = 53
_LANE_STEP = 100


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the gateway listens for one lane; devboxes cannot address these ports."""

    tcp: int
    udp: int
    #: Transparent sockets for port 53 of any address, UDP and TCP.
    dns: int

    @classmethod
    def of_lane(cls, lane: int) -> Ports:
        """The ports of the lane of that number."""
        step = lane * _LANE_STEP
        return cls(tcp=15001 + step, udp=15002 + step, dns=15053 + step)


TABLE = "stockade"
#: What routes a packet to the gateway's sockets (`ip rule fwmark`). The ruleset clears
#: the mark of each packet that comes in before it sets its own.
MARK = 1
#: The named counters of the ruleset.
COUNTERS = ("spoofed", "multicast", "rejected", "forwarded")

_IDENTITY = """\
	# Who may send what: the devbox's own addresses, on its own interface.
	set sources4 { typeof iifname . ip saddr; }
	set sources6 { typeof iifname . ip6 saddr; }
	# The gateway's addresses, each as seen from its own devbox.
	set services4 { typeof iifname . ip daddr; }
	set services6 { typeof iifname . ip6 daddr; }

	# Before reassembly (-400): a fragment with another devbox's source must not meet
	# that devbox's fragments.
	chain identity {
		type filter hook prerouting priority -450; policy drop;
		meta mark set 0
		ip daddr 224.0.0.0/4 counter name multicast drop
		ip6 daddr ff00::/8 counter name multicast drop
		iifname . ip saddr @sources4 accept
		iifname . ip6 saddr @sources6 accept
		counter name spoofed drop
	}
"""
_END = f"""\
	# TCP gets a reset: an ICMP error that meets a socket still inside connect() is
	# lost, and the client hangs for a second.
	chain refuse {{
		counter name rejected
		meta l4proto tcp reject with tcp reset
		reject with icmpx admin-prohibited
	}}

	chain input {{
		type filter hook input priority filter; policy drop;
		iifname "{INTERFACE_PREFIX}*" meta mark {MARK} accept
		udp dport {DNS_PORT} iifname . ip daddr @services4 accept
		udp dport {DNS_PORT} iifname . ip6 daddr @services6 accept
	}}

	chain forward {{
		type filter hook forward priority filter; policy drop;
		counter name forwarded drop
	}}
"""


def render_base(lanes: int = 1) -> str:
    """The whole ruleset, without any slot. *lanes* is a power of two."""
    return f"""\
table inet {TABLE} {{
	# Dropped: an (interface, source) pair that no slot has.
	counter spoofed {{ }}
	# Dropped: group traffic, such as the MLD reports every kernel sends.
	counter multicast {{ }}
	# Refused, and told so.
	counter rejected {{ }}
	# Never counts: nothing is forwarded, and packets that tried would show here.
	counter forwarded {{ }}

{_IDENTITY}
	# Datagrams are whole here: tproxy makes the kernel reassemble them first.
	chain divert {{
		type filter hook prerouting priority mangle; policy drop;
		# Options and extension headers could hide or reroute what follows them.
		ip hdrlength != 5 goto refuse
		ip frag-off & 0x3fff != 0 goto refuse
		ip6 nexthdr != {{ tcp, udp }} goto refuse
		udp dport {DNS_PORT} iifname . ip daddr @services4 accept
		udp dport {DNS_PORT} iifname . ip6 daddr @services6 accept
		# The kernel would drop these in silence.
		ip daddr {{ 0.0.0.0/8, 127.0.0.0/8, 255.255.255.255 }} goto refuse
		ip6 daddr {{ ::/96, ::ffff:0:0/96, fe80::/10 }} goto refuse
		{_choice("ip saddr", 4, lanes)}
		{_choice("ip6 saddr", 6, lanes)}
		goto refuse
	}}

{"".join(map(_lane, range(lanes)))}
{_END}}}
"""


def _choice(source: str, version: int, lanes: int) -> str:
    mask = lane_address(version, lanes - 1)
    choices = ", ".join(
        f"{lane_address(version, lane)} : goto lane{lane}" for lane in range(lanes)
    )
    return f"{source} & {mask} vmap {{ {choices} }}"


def _lane(lane: int) -> str:
    ports = Ports.of_lane(lane)
    return f"""\
	chain lane{lane} {{
		udp dport 53 tproxy to :{ports.dns} meta mark set {MARK} accept
		tcp dport 53 tproxy to :{ports.dns} meta mark set {MARK} accept
		# Other devboxes, and the gateway itself.
		ip daddr {SLOT_NETWORK4} goto refuse
		ip6 daddr {SLOT_NETWORK6} goto refuse
		meta l4proto tcp tproxy to :{ports.tcp} meta mark set {MARK} accept
		meta l4proto udp tproxy to :{ports.udp} meta mark set {MARK} accept
		# ICMP, SCTP, GRE, ...; and everything while the gateway has no sockets.
		goto refuse
	}}

"""


def render_slot(slot: Slot) -> str:
    """What lets *slot* in. Doing it twice changes nothing."""
    return "".join(
        f"add element inet {TABLE} {element}\n" for element in _element_texts(slot)
    )


def render_slot_removed(slot: Slot) -> str:
    """What shuts *slot* out, whether it was let in or not."""
    # Deleting what is not there would fail, and with it the whole transaction.
    return render_slot(slot) + "".join(
        f"delete element inet {TABLE} {element}\n" for element in _element_texts(slot)
    )


def render_all(slots: Iterable[Slot], lanes: int = 1) -> str:
    """Everything, replacing whatever is there."""
    return (
        "flush ruleset\n"
        + render_base(lanes)
        + "".join(map(render_slot, sorted(slots)))
    )


def expected(slots: Iterable[Slot]) -> Mapping[str, frozenset[tuple[str, str]]]:
    """The (interface, address) pairs each set must hold for *slots*, and no others."""
    sets: dict[str, set[tuple[str, str]]] = {
        name: set() for name in ("sources4", "sources6", "services4", "services6")
    }
    for slot in slots:
        for name, interface, address in _elements(slot):
            sets[name].add((interface, address))
    return {name: frozenset(pairs) for name, pairs in sets.items()}


def _elements(slot: Slot) -> tuple[tuple[str, str, str], ...]:
    return (
        ("sources4", slot.interface, str(slot.devbox4)),
        ("sources6", slot.interface, str(slot.devbox6)),
        ("services4", slot.interface, str(slot.gateway4)),
        ("services6", slot.interface, str(slot.gateway6)),
    )


def _element_texts(slot: Slot) -> tuple[str, ...]:
    return tuple(
        f"{name} {{ {interface} . {address} }}"
        for name, interface, address in _elements(slot)
    )
