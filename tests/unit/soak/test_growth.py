"""The soak's verdict: what grows is found, what goes up and down is not."""

from __future__ import annotations

import random
import xml.etree.ElementTree as ET
from dataclasses import asdict
from pathlib import Path

import pytest

from tests.soak import report
from tests.soak.chart import PANELS, draw
from tests.soak.growth import BOUNDS, judge, slope, table
from tests.soak.samples import Sample

KEYS = (*BOUNDS, "lookups", "records missed")
STILL = dict.fromkeys(KEYS, 10.0)


def samples(key: str, value, lives: int = 1) -> list[Sample]:
    """An hour of samples in which *key* has value(second) and all else stays."""
    return [
        Sample(float(at), at * lives // 3600, {**STILL, key: value(at)})
        for at in range(0, 3600, 30)
    ]


def verdict(key: str, value, *, lives: int = 1, after: float = 10.0):
    """What is said about *key*."""
    found = judge(samples(key, value, lives), STILL, {**STILL, key: after})
    return next(verdict for verdict in found if verdict.key == key)


@pytest.mark.parametrize("key", BOUNDS)
def test_what_grows_by_more_than_its_bound_is_found(key: str) -> None:
    noise = random.Random(1)
    bound = max(BOUNDS[key], 1)
    growing = verdict(key, lambda at: 10 + 2 * bound * at / 3600 + noise.random())
    assert growing.grew
    assert not verdict(key, lambda at: 10 + (BOUNDS[key] and noise.random())).grew


def test_a_single_peak_is_no_growth() -> None:
    assert not verdict("flows", lambda at: 4_000 if at == 3_000 else 10).grew


def test_a_warm_up_is_no_growth() -> None:
    assert not verdict("agent rss", lambda at: min(at, 300)).grew


def test_growth_is_seen_within_the_lives_of_gateways_that_are_killed() -> None:
    """A gateway that grows and is killed before it is large grows all the same."""
    grows = verdict("gateway rss", lambda at: 10 + at % 600 / 20, lives=6)
    assert grows.grew
    assert grows.growth == pytest.approx(30 * 5.4, rel=0.2)


def test_lines_of_different_lives_are_not_compared() -> None:
    points = [(0.0, 1.0, 0), (10.0, 1.0, 0), (20.0, 90.0, 1), (30.0, 90.0, 1)]
    assert slope(points) == 0
    assert slope([(0.0, 1.0, 0)]) == 0


def test_what_is_left_at_the_end_is_found() -> None:
    assert verdict("mounts", lambda at: 10, after=11).stayed
    assert not verdict("mounts", lambda at: 10).stayed
    # Pipes are kept for the next stream; sockets are not.
    assert not verdict("gateway pipes", lambda at: 10, after=70).stayed
    assert verdict("gateway pipes", lambda at: 10, after=200).stayed
    assert not verdict("lookups", lambda at: 10, after=99).stayed


def test_the_table_names_what_grew_and_what_stayed() -> None:
    found = judge(
        samples("mounts", lambda at: 10 + at), STILL, {**STILL, "mounts": 3600.0}
    )
    (line,) = [line for line in table(found).splitlines() if "GREW" in line]
    assert line.startswith("mounts")
    assert "STAYED" in line


def test_the_chart_is_a_drawing_of_all_panels() -> None:
    drawing = ET.fromstring(draw(samples("flows", lambda at: at, lives=3), "A < B"))
    text = [element.text for element in drawing.iter() if element.text]
    assert "A < B" in text
    assert {title for title, _ in PANELS} <= set(text)


def test_a_run_is_told_in_the_document(tmp_path: Path) -> None:
    page = tmp_path / "soak.md"
    page.write_text(f"above\n{report.BEGIN}\nold\n{report.END}\nbelow\n")
    leaking = samples("agent pipes", lambda at: 10 + at / 60)
    found = judge(leaking, STILL, {**STILL, "agent pipes": 30.0})
    raw = {
        "samples": [asdict(sample) for sample in leaking],
        "verdicts": [asdict(verdict) for verdict in found],
        "done": {"policies changed": 1_234},
        "failures": ["agent pipes grew by 54.00"],
    }
    report.write(raw, "2026-01-02", page)
    told = page.read_text()
    assert told.startswith("above\n")
    assert told.endswith("below\n")
    assert "old" not in told
    assert "1,234 policies changed" in told
    assert "- agent pipes grew by 54.00" in told
    rows = [line for line in told.splitlines() if line.startswith("| ")]
    assert len(rows) == 2 + len(BOUNDS)
    assert any(row.startswith("| agent pipes | 10 ") for row in rows)


def test_a_document_without_a_place_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "soak.md"
    page.write_text("nothing")
    with pytest.raises(ValueError, match="no place"):
        report.write({}, "2026-01-02", page)
