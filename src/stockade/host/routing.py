"""The routing of the gateway namespace: marked packets go to the sockets.

Apart from the slots' own links and the delivery of marked packets there is no route,
and in particular no default route. What else turns up here is foreign, and is removed
by `repair`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from stockade.errors import EnforcementError
from stockade.host.links import LOOPBACK, batch, interfaces, interfaces_up
from stockade.host.netns import Netns
from stockade.host.ruleset import MARK
from stockade.host.slots import Slot

#: The routing table that delivers marked packets to the gateway's sockets.
DELIVERY_TABLE = 100
# linux/rtnetlink.h
_DEFAULT_TABLE, _MAIN_TABLE, _LOCAL_TABLE = 253, 254, 255
_RTN_UNICAST, _RTN_LOCAL, _RTN_OTHER = 1, 2, -1
_TABLES = {"default": _DEFAULT_TABLE, "main": _MAIN_TABLE, "local": _LOCAL_TABLE}
_KINDS = {"unicast": _RTN_UNICAST, "local": _RTN_LOCAL}
_EVERYTHING = {4: "0.0.0.0/0", 6: "::/0"}
_HOST_BITS = {4: 32, 6: 128}
# Of the JSON that `ip rule` prints, what says nothing about which packets it selects.
_RULE_FACTS = frozenset(("priority", "table", "fwmark", "protocol"))


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
    """What the kernel has: rules, routes, and the interfaces that are up.

    *local* are the routes in the table of local addresses.
    """

    rules: frozenset[Rule]
    routes: frozenset[Route]
    interfaces: frozenset[tuple[int, str]]
    local: frozenset[Route] = frozenset()


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
    found = observe(netns)
    batch(netns, ("link set lo up",))
    for version in _EVERYTHING:
        lines = [
            _add_rule(rule)
            for rule in sorted(RULES - found.rules)
            if rule.version == version
        ]
        lines += [
            f"route replace local {route.destination} dev lo table {route.table}"
            for route in sorted(DELIVERY - found.routes)
            if route.version == version
        ]
        if lines:
            batch(netns, lines, f"-{version}")


def observe(netns: Netns) -> Routing:
    """Read everything back."""
    rules: set[Rule] = set()
    routes: set[Route] = set()
    numbers = interfaces(netns)
    for version in _EVERYTHING:
        text = batch(
            netns, ("rule show", "route show table all"), f"-{version}", "-json", "-N"
        )
        found_rules, found_routes = _lists(text)
        rules.update(_rule(entry, version) for entry in found_rules)
        routes.update(_route(entry, version, numbers) for entry in found_routes)
    return Routing(
        frozenset(rules),
        frozenset(route for route in routes if route.table != _LOCAL_TABLE),
        interfaces_up(netns),
        frozenset(route for route in routes if route.table == _LOCAL_TABLE),
    )


def missing(found: Routing, slot: Slot) -> frozenset[Route]:
    """The routes that the addresses of *slot* bring with them, and that are not there."""
    index = slot.interface_index
    local = {
        Route(4, _LOCAL_TABLE, f"{slot.gateway4}/32", index, _RTN_LOCAL),
        Route(6, _LOCAL_TABLE, f"{slot.gateway6}/128", index, _RTN_LOCAL),
    }
    return (_of_slots((slot,))[0] - found.routes) | (local - found.local)


def problems(found: Routing, slots: Iterable[Slot]) -> list[str]:
    """Say how *found* differs from what *slots* need.

    An interface that is not there is no problem: it goes when its devbox ends.
    """
    allowed, wanted = _of_slots(slots)
    return [
        *(f"missing: {rule}" for rule in sorted(RULES - found.rules)),
        *(f"foreign: {rule}" for rule in sorted(found.rules - RULES)),
        *(f"missing: {route}" for route in sorted(DELIVERY - found.routes)),
        *(f"foreign: {route}" for route in sorted(found.routes - DELIVERY - allowed)),
        *(
            f"foreign: interface {name} is up"
            for _, name in sorted(found.interfaces - wanted)
        ),
    ]


def repair(netns: Netns, slots: Iterable[Slot]) -> None:
    """Remove what is foreign, then add what is missing."""
    found = observe(netns)
    allowed, wanted = _of_slots(slots)
    names = {index: name for name, index in interfaces(netns).items()}
    batch(
        netns,
        [
            f"link set {name} down"
            for index, name in sorted(found.interfaces - wanted)
            if names.get(index) == name
        ],
    )
    # What is left: the routes of an interface go when it goes down.
    found = observe(netns)
    for version in _EVERYTHING:
        lines = [
            f"route del {route.destination} table {route.table}"
            for route in sorted(found.routes - DELIVERY - allowed)
            if route.version == version
        ]
        lines += [
            f"rule del priority {rule.priority}"
            for rule in sorted(found.rules - RULES)
            if rule.version == version
        ]
        if lines:
            batch(netns, lines, f"-{version}")
    establish(netns)


def _of_slots(
    slots: Iterable[Slot],
) -> tuple[frozenset[Route], frozenset[tuple[int, str]]]:
    """The routes and interfaces that there may be for *slots*."""
    routes: set[Route] = set()
    wanted = {(LOOPBACK, "lo")}
    for slot in slots:
        index = slot.interface_index
        wanted.add((index, slot.interface))
        routes.add(Route(4, _MAIN_TABLE, f"{slot.gateway4}/31", index, _RTN_UNICAST))
        routes.add(Route(6, _MAIN_TABLE, f"{slot.gateway6}/127", index, _RTN_UNICAST))
    return frozenset(routes), frozenset(wanted)


def _add_rule(rule: Rule) -> str:
    mark = f" fwmark {rule.mark}" if rule.mark else ""
    return f"rule add priority {rule.priority}{mark} table {rule.table}"


def _lists(text: str) -> Iterator[list[dict[str, Any]]]:
    """The JSON lists that `ip` printed one after the other, one a command."""
    decoder = json.JSONDecoder()
    rest = text.strip()
    for _ in range(2):
        try:
            entries, end = decoder.raw_decode(rest)
        except ValueError:
            raise EnforcementError("ip printed no JSON") from None
        yield [entry for entry in entries if entry]
        rest = rest[end:].strip()


def _rule(entry: Mapping[str, Any], version: int) -> Rule:
    """A rule as `ip -json rule` shows it; every further key is a selector."""
    selectors = "".join(
        f" {key}={value}"
        for key, value in sorted(entry.items())
        if key not in _RULE_FACTS and (key, value) != ("src", "all")
    )
    mark = str(entry.get("fwmark", "0"))
    return Rule(
        version,
        int(entry["priority"]),
        _table(entry.get("table", "0")),
        int(mark, 0) if mark.isalnum() else -1,
        selectors,
    )


def _route(entry: Mapping[str, Any], version: int, numbers: Mapping[str, int]) -> Route:
    destination = str(entry["dst"])
    if destination == "default":
        destination = _EVERYTHING[version]
    elif "/" not in destination:
        destination += f"/{_HOST_BITS[version]}"
    return Route(
        version,
        _table(entry.get("table", "main")),
        destination,
        numbers.get(str(entry.get("dev")), 0),
        _kind(str(entry.get("type", "unicast"))),
    )


def _table(name: object) -> int:
    text = str(name)
    return _TABLES[text] if text in _TABLES else int(text, 0)


def _kind(name: str) -> int:
    """An `RTN_` number, whether `ip` prints it as a name or as a number."""
    if name.isdigit():
        return int(name)
    return _KINDS.get(name, _RTN_OTHER)
