"""The routing of the gateway namespace: marked packets go to the sockets.

Apart from the slots' own links and the delivery of marked packets there is no route,
and in particular no default route. What else turns up here is foreign, and is removed
by `repair`.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from stockade.host.links import IFF_UP, LOOPBACK, ignoring, rtnetlink
from stockade.host.netns import Netns
from stockade.host.ruleset import MARK
from stockade.host.slots import Slot

#: The routing table that delivers marked packets to the gateway's sockets.
DELIVERY_TABLE = 100
# linux/rtnetlink.h
_DEFAULT_TABLE, _MAIN_TABLE, _LOCAL_TABLE = 253, 254, 255
_RTN_UNICAST, _RTN_LOCAL = 1, 2
_TO_TABLE = 1
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
_EVERYTHING = {4: "0.0.0.0/0", 6: "::/0"}


@dataclass(frozen=True, slots=True, order=True)
class Rule:
    """One `ip rule`. *selectors* is whatever it asks for besides the mark."""

    version: int
    priority: int
    table: int
    mark: int = 0
    selectors: str = ""

    def __str__(self) -> str:
        mark = f" fwmark {self.mark}" if self.mark else ""
        return (
            f"IPv{self.version} rule {self.priority}{mark}{self.selectors} "
            f"lookup {self.table}"
        )


@dataclass(frozen=True, slots=True, order=True)
class Route:
    """One route outside the table of local addresses. *kind* is an `RTN_` number."""

    version: int
    table: int
    destination: str
    interface: int
    kind: int

    def __str__(self) -> str:
        return (
            f"route {self.destination} on interface {self.interface} "
            f"in table {self.table}"
        )


@dataclass(frozen=True, slots=True)
class Routing:
    """What the kernel has: rules, routes, and the interfaces that are up."""

    rules: frozenset[Rule]
    routes: frozenset[Route]
    interfaces: frozenset[tuple[int, str]]


RULES = frozenset(
    Rule(version, priority, table, mark)
    for version in (4, 6)
    for priority, table, mark in (
        (0, _LOCAL_TABLE, 0),
        (100, DELIVERY_TABLE, MARK),
        (32766, _MAIN_TABLE, 0),
    )
) | {Rule(4, 32767, _DEFAULT_TABLE)}
DELIVERY = frozenset(
    Route(version, DELIVERY_TABLE, everything, LOOPBACK, _RTN_LOCAL)
    for version, everything in _EVERYTHING.items()
)


def establish(netns: Netns) -> None:
    """Bring lo up and add what is missing. Doing it twice changes nothing."""
    with rtnetlink(netns) as ip:
        ip.link("set", index=LOOPBACK, state="up")
        for rule in sorted(RULES):
            mark = {"fwmark": rule.mark} if rule.mark else {}
            with ignoring(errno.EEXIST):
                ip.rule(
                    "add",
                    family=_FAMILIES[rule.version],
                    priority=rule.priority,
                    table=rule.table,
                    **mark,
                )
        for route in sorted(DELIVERY):
            ip.route(
                "replace",
                family=_FAMILIES[route.version],
                dst=route.destination,
                type="local",
                scope="host" if route.version == 4 else "universe",
                oif=route.interface,
                table=route.table,
            )


def observe(netns: Netns) -> Routing:
    """Read everything back."""
    with rtnetlink(netns) as ip:
        return Routing(
            frozenset(
                _rule(message, version)
                for version, family in _FAMILIES.items()
                for message in ip.get_rules(family=family)
            ),
            frozenset(
                route
                for version, family in _FAMILIES.items()
                for message in ip.get_routes(family=family)
                if (route := _route(message, version)).table != _LOCAL_TABLE
            ),
            frozenset(
                (message["index"], message.get("ifname"))
                for message in ip.get_links()
                if message["flags"] & IFF_UP
            ),
        )


def problems(found: Routing, slots: Iterable[Slot]) -> list[str]:
    """Say how *found* differs from what *slots* need.

    An interface that is not there is no problem: it goes when its devbox ends.
    """
    allowed, interfaces = _of_slots(slots)
    return [
        *(f"missing: {rule}" for rule in sorted(RULES - found.rules)),
        *(f"foreign: {rule}" for rule in sorted(found.rules - RULES)),
        *(f"missing: {route}" for route in sorted(DELIVERY - found.routes)),
        *(f"foreign: {route}" for route in sorted(found.routes - DELIVERY - allowed)),
        *(
            f"foreign: interface {name} is up"
            for _, name in sorted(found.interfaces - interfaces)
        ),
    ]


def repair(netns: Netns, slots: Iterable[Slot]) -> None:
    """Remove what is foreign, then add what is missing."""
    found = observe(netns)
    allowed, interfaces = _of_slots(slots)
    with rtnetlink(netns) as ip:
        for index, _ in found.interfaces - interfaces:
            with ignoring(errno.ENODEV):
                ip.link("set", index=index, state="down")
        for route in found.routes - DELIVERY - allowed:
            with ignoring(errno.ESRCH):  # it went with its interface
                ip.route(
                    "del",
                    family=_FAMILIES[route.version],
                    dst=route.destination,
                    table=route.table,
                )
        for rule in found.rules - RULES:
            with ignoring(errno.ENOENT):
                ip.rule(
                    "del",
                    family=_FAMILIES[rule.version],
                    priority=rule.priority,
                    table=rule.table,
                )
    establish(netns)


def _of_slots(
    slots: Iterable[Slot],
) -> tuple[frozenset[Route], frozenset[tuple[int, str]]]:
    """The routes and interfaces that there may be for *slots*."""
    routes: set[Route] = set()
    interfaces = {(LOOPBACK, "lo")}
    for slot in slots:
        index = slot.interface_index
        interfaces.add((index, slot.interface))
        routes.add(Route(4, _MAIN_TABLE, f"{slot.gateway4}/31", index, _RTN_UNICAST))
        routes.add(Route(6, _MAIN_TABLE, f"{slot.gateway6}/127", index, _RTN_UNICAST))
    return frozenset(routes), frozenset(interfaces)


def _rule(message: Any, version: int) -> Rule:
    attributes = dict(message["attrs"])
    # Present on every rule, and without effect unless set to something else.
    if attributes.pop("FRA_SUPPRESS_PREFIXLEN", None) not in (None, 0xFFFFFFFF):
        attributes["FRA_SUPPRESS_PREFIXLEN"] = "set"
    if attributes.pop("FRA_FWMASK", None) not in (None, 0xFFFFFFFF):
        attributes["FRA_FWMASK"] = "set"
    attributes.pop("FRA_PROTOCOL", None)
    attributes.pop("FRA_TABLE", None)
    priority = attributes.pop("FRA_PRIORITY", 0)
    mark = attributes.pop("FRA_FWMARK", 0)
    if message["action"] != _TO_TABLE:
        attributes["action"] = message["action"]
    if message["flags"]:
        attributes["flags"] = message["flags"]
    selectors = "".join(f" {name}={value}" for name, value in attributes.items())
    return Rule(version, priority, message["table"], mark, selectors)


def _route(message: Any, version: int) -> Route:
    destination, everything = message.get("dst"), _EVERYTHING[version]
    return Route(
        version,
        message.get("table"),
        f"{destination}/{message['dst_len']}" if destination else everything,
        message.get("oif") or 0,
        message["type"],
    )
