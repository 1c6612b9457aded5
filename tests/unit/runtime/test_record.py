"""What a box directory says of what is outside it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stockade.errors import Unavailable
from stockade.runtime.record import BoxRecord, load

RECORD = BoxRecord("dbx_1", "/usr/bin/crun", "/disk", "/ids/x", 1 << 29, "/stockade-x")


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert load(tmp_path) is None
    RECORD.save(tmp_path)
    assert load(tmp_path) == RECORD
    assert [path.name for path in tmp_path.iterdir()] == ["box.json"]


def test_a_record_of_another_version_is_not_guessed_at(tmp_path: Path) -> None:
    RECORD.save(tmp_path)
    facts = json.loads((tmp_path / "box.json").read_text())
    (tmp_path / "box.json").write_text(json.dumps({**facts, "schema": 2}))
    with pytest.raises(Unavailable, match="another version"):
        load(tmp_path)
