"""Reads the gateway's ends of the slots back, and says what is wrong with them.

A slot whose interface was renamed, taken down, moved or deleted leaks nothing: what it
sends belongs to no slot any more. But its devbox would be without a network, and nobody
would know why.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from stockade.errors import EnforcementError
from stockade.host import routing
from stockade.host.links import batch
from stockade.host.netns import Netns
from stockade.host.routing import Routing
from stockade.host.slots import Slot

# UP, no ARP, and the devbox's end is up, too.
_FLAGS = frozenset(("UP", "NOARP", "LOWER_UP"))


@dataclass(frozen=True, slots=True)
class Link:
    """One interface, with its addresses and permanent neighbours."""

    name: str
    flags: frozenset[str]
    mac: str
    addresses: frozenset[str]
    neighbours: frozenset[tuple[str, str]]


def observe(netns: Netns) -> dict[int, Link]:
    """The interfaces of *netns*, by their numbers."""
    text = batch(netns, ("address show", "neighbor show nud permanent"), "-json", "-N")
    interfaces, neighbours = _lists(text)
    by_name: dict[str, set[tuple[str, str]]] = {}
    for entry in neighbours:
        pair = (str(entry.get("dst")), str(entry.get("lladdr")))
        by_name.setdefault(str(entry.get("dev")), set()).add(pair)
    return {
        int(entry["ifindex"]): Link(
            str(entry["ifname"]),
            frozenset(entry.get("flags", ())),
            str(entry.get("address")),
            frozenset(
                f"{one.get('local')}/{one.get('prefixlen')}"
                for one in entry.get("addr_info", ())
            ),
            frozenset(by_name.get(str(entry["ifname"]), ())),
        )
        for entry in interfaces
        if "ifindex" in entry
    }


def problems(
    found: Mapping[int, Link], routes: Routing, slots: Iterable[Slot]
) -> dict[Slot, str]:
    """What is wrong with the links of *slots*. Those that are right are left out."""
    said: dict[Slot, str] = {}
    for slot in slots:
        problem = _problem(found.get(slot.interface_index), slot)
        if problem is None and (lost := routing.missing(routes, slot)):
            problem = f"{slot.interface} has lost its {min(lost)}"
        if problem is not None:
            said[slot] = problem
    return said


def _problem(link: Link | None, slot: Slot) -> str | None:
    if link is None:
        return f"{slot.interface} is gone"
    if link.name != slot.interface:
        return f"{slot.interface} is called {link.name}"
    if not link.flags >= _FLAGS:
        return f"{slot.interface} is not {', '.join(sorted(_FLAGS - link.flags))}"
    if link.mac != slot.gateway_mac:
        return f"{slot.interface} has another hardware address"
    if link.addresses != {f"{slot.gateway4}/31", f"{slot.gateway6}/127"}:
        return f"{slot.interface} has other addresses"
    ours = ((str(address), slot.devbox_mac) for address in (slot.devbox4, slot.devbox6))
    if link.neighbours != frozenset(ours):
        return f"{slot.interface} has other neighbours"
    return None


def _lists(text: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The two JSON lists that `ip` printed, one after the other."""
    decoder = json.JSONDecoder()
    try:
        first, end = decoder.raw_decode(text.strip())
        second, _ = decoder.raw_decode(text.strip()[end:].strip())
    except ValueError:
        raise EnforcementError("ip printed no JSON") from None
    return first, second
