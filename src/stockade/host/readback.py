"""Compares the kernel's state, as read back, with what it must be.

libnftables prints a rule otherwise than it was written, and each version prints it its
own way. So the measure is not our text but the listing that the same library gave right
after the text was applied to a namespace that nobody else had seen.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from stockade.host.ruleset import expected
from stockade.host.slots import Slot

# What the kernel numbers, and what it counts.
_VARYING = frozenset({"handle", "packets", "bytes", "elem"})


def without_slots(ruleset: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Reduce a listing to what never changes: a line an object, rules in order."""
    lines = []
    for entry in ruleset:
        for kind, body in entry.items():
            if kind != "metainfo":
                kept = {key: body[key] for key in sorted(body) if key not in _VARYING}
                lines.append(f"{kind} {json.dumps(kept, sort_keys=True)}")
    return tuple(lines)


def problems(
    ruleset: Sequence[Mapping[str, Any]],
    baseline: Sequence[str],
    slots: Iterable[Slot],
) -> list[str]:
    """What is wrong with a listing of the gateway namespace's ruleset."""
    live = without_slots(ruleset)
    if not any(line.startswith("table") and line in baseline for line in live):
        return ["the gateway namespace has lost its ruleset"]
    problems = [
        f"missing in the ruleset: {line}" for line in baseline if line not in live
    ]
    problems += [
        f"foreign in the ruleset: {line}" for line in live if line not in baseline
    ]
    if not problems and tuple(baseline) != live:
        problems.append("the rules of the gateway namespace are not in their order")
    found = _elements(ruleset)
    for name, pairs in expected(slots).items():
        there = found.get(name, frozenset())
        problems += [
            f"{interface} is not let in from {address} (set {name})"
            for interface, address in sorted(pairs - there)
        ]
        problems += [
            f"{interface} is let in from {address} and has no slot (set {name})"
            for interface, address in sorted(there - pairs)
        ]
    return problems


def _elements(
    ruleset: Iterable[Mapping[str, Any]],
) -> Mapping[str, frozenset[tuple[str, str]]]:
    sets = [entry["set"] for entry in ruleset if "set" in entry]
    return {
        entry["name"]: frozenset(
            (str(pair[0]), str(pair[1]))
            for pair in (_concatenation(element) for element in entry.get("elem", ()))
        )
        for entry in sets
    }


def _concatenation(element: Any) -> tuple[Any, ...]:
    """The parts of one set element; an element of another shape is foreign."""
    if isinstance(element, dict) and "concat" in element:
        parts = tuple(element["concat"])
        if len(parts) == 2:
            return parts
    return ("?", json.dumps(element))
