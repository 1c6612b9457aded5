"""Outputs: the last lines, and pieces that split no character."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stockade.control.outputs import Piece, last_lines, pieces


@pytest.mark.parametrize(
    ("output", "count", "expected", "truncated"),
    [
        (b"", 5, "", False),
        (b"1\n2\n3\n4\n5\n", 3, "3\n4\n5\n", True),
        (b"1\n2\n3\n4\n5", 3, "3\n4\n5", True),
        (b"1\n2\n3\n", 3, "1\n2\n3\n", False),
        (b"1\n2\n3\n", 0, "", True),
        (b"\n\n\n", 2, "\n\n", True),
        (b"one", 1, "one", False),
    ],
)
def test_last_lines(output: bytes, count: int, expected: str, truncated: bool) -> None:
    assert last_lines(output, len(output), count) == (expected, truncated)


def test_what_was_not_kept_counts_as_cut_and_splits_no_character() -> None:
    whole = "é€😀".encode() * 5
    for kept in range(1, len(whole)):
        text, truncated = last_lines(whole[-kept:], len(whole), 100)
        assert truncated
        assert "\ufffd" not in text or kept < 4
        assert whole.decode().endswith(text) or kept < 4


@given(st.binary(max_size=60), st.lists(st.integers(0, 60), max_size=6))
def test_pieces_are_the_same_however_they_arrive(
    output: bytes, cuts: list[int]
) -> None:
    found = collect(output, cuts)
    assert "".join(piece.text for piece in found) == output.decode(errors="replace")
    assert [piece.end for piece in found] == sorted(piece.end for piece in found)
    if found:
        assert found[-1].end == len(output)


@given(st.text(max_size=20), st.lists(st.integers(0, 60), max_size=6))
def test_a_client_goes_on_from_any_piece(text: str, cuts: list[int]) -> None:
    output = text.encode(errors="ignore")
    seen = ""
    for piece in collect(output, cuts):
        seen += piece.text
        rest = "".join(one.text for one in collect(output[piece.end :], [], piece.end))
        assert seen + rest == output.decode()


def collect(output: bytes, cuts: list[int], offset: int = 0) -> list[Piece]:
    async def source() -> AsyncIterator[bytes]:
        edges = [0, *sorted(min(cut, len(output)) for cut in cuts), len(output)]
        for start, end in pairwise(edges):
            yield output[start:end]

    async def main() -> list[Piece]:
        return [piece async for piece in pieces(source(), offset)]

    return asyncio.run(main())
