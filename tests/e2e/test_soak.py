"""The soak in short: nothing is left of a busy third of a minute.

Devboxes come and go, connections of every kind are made and broken and the gateway is
killed once; then everything that was counted is as it was. `make soak` does that for an
hour, and sees whether anything grows.
"""

from __future__ import annotations

import asyncio

import pytest

from tests.lab import Lab
from tests.soak.growth import BOUNDS
from tests.soak.soak import Plan, soak

pytestmark = pytest.mark.root

PLAN = Plan(seconds=16, every=1, slots=6, users=12, containers=1, scale=2, kills=(0.4,))


def test_nothing_is_left_of_what_came_and_went(lab: Lab, default_image: None) -> None:
    result = asyncio.run(soak(lab, PLAN))
    assert not [verdict for verdict in result.verdicts if verdict.stayed]
    assert not result.problems
    assert "Traceback" not in result.said
    memory = [v for v in result.verdicts if v.key.endswith(("rss", "pss"))]
    assert {v.key for v in memory} <= BOUNDS.keys()
    # Caches fill at first, and this is the first: three times what an hour may cost.
    assert not [v for v in memory if v.most - v.before > 3 * BOUNDS[v.key]]
    # It did happen.
    done = result.done
    assert done["gateways killed"] == 1
    assert done["slots attached"] > 6
    assert done["containers run"]
    assert done["connections and questions"] > 50
    assert max(sample.values["flows"] for sample in result.samples) > 5
