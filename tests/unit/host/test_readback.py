"""Read-back: what counts as a difference, and what does not."""

from __future__ import annotations

import copy

import pytest

from stockade.host import readback
from stockade.host.slots import Slot

SLOT = Slot(0)


def rule(handle, *expressions):
    body = {"family": "inet", "table": "stockade", "chain": "identity"}
    return {"rule": {**body, "handle": handle, "expr": list(expressions)}}


def listing():
    """A ruleset in nft's JSON, cut down to one object of each kind."""
    table = {"family": "inet", "table": "stockade"}
    elements = {
        "sources4": "100.127.0.3",
        "sources6": "fd53:746f:636b::3",
        "services4": "100.127.0.2",
        "services6": "fd53:746f:636b::2",
    }
    return [
        {"metainfo": {"version": "1.0.6"}},
        {"table": {"family": "inet", "name": "stockade", "handle": 1}},
        {"counter": {**table, "name": "spoofed", "packets": 3, "bytes": 180}},
        *(
            {"set": {**table, "name": name, "elem": [{"concat": ["sb0", address]}]}}
            for name, address in elements.items()
        ),
        {"chain": {**table, "name": "identity", "hook": "prerouting", "prio": -450}},
        rule(4, {"mangle": {"key": {"meta": {"key": "mark"}}, "value": 0}}),
        rule(5, {"counter": "spoofed"}, {"drop": None}),
    ]


BASELINE = readback.without_slots(listing())


def problems(changed, slots=(SLOT,)):
    return readback.problems(changed, BASELINE, slots)


def test_the_same_ruleset_is_no_problem():
    assert problems(listing()) == []


def test_handles_counters_and_version_do_not_matter():
    changed = listing()
    changed[0]["metainfo"]["version"] = "2.0"
    changed[2]["counter"]["packets"] = 99
    changed[-1]["rule"]["handle"] = 77
    assert problems(changed) == []


def test_a_flushed_namespace_is_one_sentence():
    assert problems([]) == ["the gateway namespace has lost its ruleset"]


def test_a_foreign_table_with_our_rules_gone_is_noticed():
    assert problems([{"table": {"family": "ip", "name": "stockade"}}]) != []


@pytest.mark.parametrize("index", range(2, 10))
def test_each_missing_object_is_noticed(index):
    changed = listing()
    del changed[index]
    assert problems(changed) != []


def test_an_added_rule_is_noticed():
    assert any(
        "foreign" in p for p in problems([*listing(), rule(9, {"accept": None})])
    )


def test_a_repeated_rule_is_noticed():
    assert problems([*listing(), listing()[-1]]) != []


def test_rules_in_another_order_are_noticed():
    changed = listing()
    changed[-1], changed[-2] = changed[-2], changed[-1]
    assert problems(changed) == [
        "the rules of the gateway namespace are not in their order"
    ]


def test_a_changed_policy_is_noticed():
    changed = copy.deepcopy(listing())
    changed[7]["chain"]["policy"] = "accept"
    assert problems(changed) != []


def test_a_missing_element_is_named():
    changed = listing()
    del changed[3]["set"]["elem"]
    assert problems(changed) == [
        "sb0 is not let in from 100.127.0.3 (set sources4)",
    ]


def test_a_foreign_element_is_named():
    assert "sb0 is let in from 100.127.0.3 and has no slot (set sources4)" in (
        problems(listing(), slots=())
    )


def test_an_element_of_another_shape_is_foreign():
    changed = listing()
    changed[3]["set"]["elem"].append({"range": ["0.0.0.0", "255.255.255.255"]})
    assert len(problems(changed)) == 1
