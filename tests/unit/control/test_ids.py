"""Ids: their form, their order, and what is none."""

from __future__ import annotations

import os

import pytest

from stockade.control.ids import check_id, new_id
from stockade.errors import InvalidRequest


def test_ids_sort_by_creation_and_differ() -> None:
    ids = [
        new_id("npol", now, os.urandom)
        for now in range(1_795_000_000_000, 1_795_000_000_200)
    ]
    assert ids == sorted(ids)
    assert len({new_id("dbx", 5, os.urandom) for _ in range(1_000)}) == 1_000
    assert all(len(one) == len("npol_") + 21 for one in ids)
    assert all(check_id("npol", one) == one for one in ids)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "npol",
        "npol_",
        "npol_short",
        "dbx_" + "a" * 21,
        "npol_" + "a" * 22,
        "npol_" + "a" * 20 + "é",
        "npol_" + "a" * 20 + "\n",
        "npol_" + "٣" * 21,
        "../npol_" + "a" * 21,
    ],
)
def test_what_is_no_id_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="is not an id"):
        check_id("npol", text)
