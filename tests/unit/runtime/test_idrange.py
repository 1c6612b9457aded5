"""Ranges of user ids: unique, outside what others have, free again when they should be."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from stockade.errors import Unavailable
from stockade.runtime import idrange


@pytest.fixture
def boxes(tmp_path: Path) -> list[Path]:
    made = [tmp_path / "boxes" / str(n) for n in range(40)]
    for box in made:
        box.mkdir(parents=True)
    return made


def test_ranges_are_aligned_apart_and_in_bounds(
    tmp_path: Path, boxes: list[Path]
) -> None:
    with ThreadPoolExecutor(8) as threads:
        ranges = list(
            threads.map(lambda b: idrange.reserve(tmp_path / "ids", b), boxes)
        )
    bases = sorted(one.base for one in ranges)
    assert len(set(bases)) == len(boxes)
    for base in bases:
        assert base % idrange.RANGE_SIZE == 0
        assert base >= idrange.FIRST_ID
        assert base + idrange.RANGE_SIZE - 1 <= idrange.LAST_ID


def test_a_range_is_free_when_it_is_given_back_or_its_box_is_gone(
    tmp_path: Path, boxes: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    last = idrange.FIRST_ID + 2 * idrange.RANGE_SIZE - 1
    monkeypatch.setattr(idrange, "LAST_ID", last)
    ids = tmp_path / "ids"
    first, second = (idrange.reserve(ids, box) for box in boxes[:2])
    with pytest.raises(Unavailable, match="all 2 ranges"):
        idrange.reserve(ids, boxes[2])
    idrange.release(first.reservation, boxes[1])
    with pytest.raises(Unavailable):
        idrange.reserve(ids, boxes[2])
    idrange.release(first.reservation, boxes[0])
    assert idrange.reserve(ids, boxes[2]).base == first.base
    boxes[1].rmdir()
    assert idrange.reserve(ids, boxes[3]).base == second.base
    idrange.release(second.reservation, boxes[1])
    assert second.reservation.exists(), "it belongs to another box"


def test_ranges_of_other_tools_are_left_to_them(
    tmp_path: Path, boxes: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    subordinate = tmp_path / "subuid"
    first = idrange.FIRST_ID
    subordinate.write_text(
        f"a:{first + 5}:10\nb:{first + 2 * 65536 - 1}:1\nbad line\nc:x:5\n"
    )
    monkeypatch.setattr(idrange, "LAST_ID", first + 3 * idrange.RANGE_SIZE - 1)
    monkeypatch.setattr(idrange, "_SUBORDINATE", (subordinate, tmp_path / "missing"))
    only = idrange.reserve(tmp_path / "ids", boxes[0])
    assert only.base == first + 2 * idrange.RANGE_SIZE
    with pytest.raises(Unavailable):
        idrange.reserve(tmp_path / "ids", boxes[1])
