"""Fifty times a second the policy of a hundred devboxes flips from one list to the other.

At no moment are both in force, or none: every answer, and every request that arrives,
agrees with a generation that was in force between its start and its end.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.attacks.slotdriver import NAMES
from tests.lab import Lab
from tests.lab.record import Entry

SLOTS, RATE, SECONDS = 100, 50, 4
_ROOT = Path(__file__).resolve().parents[2]


class Storm(NamedTuple):
    """What was pushed, tried, recorded, and what arrived in the lab."""

    pushes: list[Mapping[str, Any]]
    tries: list[Mapping[str, Any]]
    records: list[Mapping[str, Any]]
    arrived: dict[str, Entry]
    missed: int

    def possible(self, begin: float, end: float) -> set[int]:
        """The generations that may have been in force at a moment of a time span.

        One is from the moment it was asked for, at the earliest, until the next one was
        acknowledged, at the latest.
        """
        ends = [push["acknowledged"] for push in self.pushes[1:]] + [float("inf")]
        return {
            push["generation"]
            for push, until in zip(self.pushes, ends, strict=True)
            if push["asked"] <= end and until >= begin
        }


def allows(generation: int, name: str) -> bool:
    """Whether a generation has a name: odd ones the first, even ones the second."""
    return NAMES[(generation + 1) % 2] == name


@pytest.fixture(scope="module")
def storm(lab: Lab) -> Storm:
    mark = lab.mark()
    command = (sys.executable, "-m", "tests.attacks.slotdriver")
    numbers = map(str, (SLOTS, RATE, SECONDS))
    # The package is found from where the interpreter starts.
    script = f"cd {_ROOT} && exec " + " ".join((*command, *numbers))
    done = lab.exec_host(("sh", "-c", script), timeout=120)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    requests = [entry for entry in lab.since(mark) if entry.kind == "http"]
    arrived = {str(entry.detail["path"]): entry for entry in requests}
    assert len(arrived) == len(requests)
    return Storm(**told, arrived=arrived)


def test_each_answer_agrees_with_a_generation_in_force(storm: Storm) -> None:
    assert len(storm.pushes) == RATE * SECONDS + 1
    assert len(storm.tries) > SLOTS
    clear = 0
    for one in storm.tries:
        possible = storm.possible(one["started"], one["ended"])
        clear += len(possible) == 1
        if one["status"] == 200:
            assert any(allows(number, one["name"]) for number in possible), one
        elif one["status"] == 403:
            assert one["generation"] in possible, one
            assert not allows(one["generation"], one["name"]), one
        else:  # Ended in the middle of it, which only a change does.
            assert len(possible) > 1, one
    # Most requests take less time than a generation lasts: they could be but one thing.
    assert clear > len(storm.tries) / 10
    assert {one["status"] for one in storm.tries} >= {200, 403}


def test_what_arrives_was_allowed_at_that_time(storm: Storm) -> None:
    tried = {one["path"]: one for one in storm.tries}
    for path, entry in storm.arrived.items():
        one = tried[path]
        assert entry.name == one["name"]
        assert one["status"] != 403, one
        possible = storm.possible(one["started"], entry.time)
        assert any(allows(number, entry.name) for number in possible), (one, entry)
    answered = {one["path"] for one in storm.tries if one["status"] == 200}
    assert answered <= storm.arrived.keys()


def test_each_record_has_the_generation_that_decided(storm: Storm) -> None:
    """And those that were cut are as many as the acknowledgements say."""
    cut = [one for one in storm.records if one["error"] is not None]
    for one in storm.records:
        if one in cut:
            by = int(one["error"].removeprefix("cut by generation "))
            assert not allows(by, one["name"]), one
        else:
            assert allows(one["generation"], one["name"]) is (one["verdict"] == "allow")
            assert one["generation"] in storm.possible(one["time"], one["time"]), one
    assert len(cut) == sum(push.get("cut", 0) for push in storm.pushes)
    assert {one["devbox"] for one in storm.records} == {
        f"slot{n}" for n in range(SLOTS)
    }
    assert len(storm.records) == len(storm.tries)
    assert storm.missed == 0
