"""Routing: what must be there, what may be there, what must not."""

from __future__ import annotations

from dataclasses import replace

from stockade.host.routing import DELIVERY, RULES, Route, Routing, Rule, problems
from stockade.host.slots import Slot

SLOT = Slot(3)
LO = (1, "lo")
SOUND = Routing(RULES, DELIVERY, frozenset({LO}))
LINK4 = Route(4, 254, "100.127.0.8/31", SLOT.interface_index, 1)
LINK6 = Route(6, 254, "fd53:746f:636b::8/127", SLOT.interface_index, 1)
ATTACHED = Routing(
    RULES,
    DELIVERY | {LINK4, LINK6},
    frozenset({LO, (SLOT.interface_index, SLOT.interface)}),
)


def test_a_sound_namespace_has_no_problems():
    assert problems(SOUND, []) == []
    assert problems(ATTACHED, [SLOT]) == []


def test_a_devbox_that_has_gone_is_no_problem():
    assert problems(SOUND, [SLOT]) == []


def test_every_rule_and_delivery_route_is_missed():
    for rule in RULES:
        assert problems(replace(SOUND, rules=RULES - {rule}), []) == [
            f"missing: {rule}"
        ]
    for route in DELIVERY:
        assert problems(replace(SOUND, routes=DELIVERY - {route}), []) == [
            f"missing: {route}"
        ]


def test_a_default_route_is_foreign():
    way_out = Route(4, 254, "0.0.0.0/0", SLOT.interface_index, 1)
    found = replace(ATTACHED, routes=ATTACHED.routes | {way_out})
    assert problems(found, [SLOT]) == [
        "foreign: route 0.0.0.0/0 on interface 1003 in table 254"
    ]


def test_an_interface_without_a_slot_is_foreign():
    assert "foreign: interface sb3 is up" in problems(ATTACHED, [])


def test_a_rule_with_another_selector_is_not_ours():
    narrowed = {
        replace(rule, selectors=" FRA_IIFNAME=sb0") if rule.mark else rule
        for rule in RULES
    }
    found = problems(replace(SOUND, rules=frozenset(narrowed)), [])
    assert "missing: IPv4 rule 100 fwmark 1 lookup 100" in found
    assert "foreign: IPv4 rule 100 fwmark 1 FRA_IIFNAME=sb0 lookup 100" in found


def test_a_rule_with_another_mark_is_foreign():
    extra = Rule(4, 50, 254, 7)
    assert problems(replace(SOUND, rules=RULES | {extra}), []) == [
        "foreign: IPv4 rule 50 fwmark 7 lookup 254"
    ]
