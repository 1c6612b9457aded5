"""The cursor refuses to read past its end, and past the end of a field."""

from __future__ import annotations

import pytest

from stockade.errors import WireError
from stockade.wire.cursor import Cursor


def test_fields_are_read_in_order() -> None:
    cursor = Cursor(b"\x01\x02\x03abc\x00\x02xyz")
    assert cursor.uint(1) == 1
    assert cursor.uint(2) == 0x0203
    assert cursor.take(3) == b"abc"
    assert cursor.vector(2).rest() == b"xy"
    assert cursor.remaining == 1
    assert cursor.rest() == b"z"
    cursor.expect_end()


@pytest.mark.parametrize(
    ("data", "read"),
    [
        pytest.param(b"ab", lambda c: c.take(3), id="octets past the end"),
        pytest.param(b"", lambda c: c.uint(1), id="a number past the end"),
        pytest.param(b"\0", lambda c: c.uint(2), id="half a number"),
        pytest.param(
            b"\5abc", lambda c: c.vector(1), id="a field longer than the rest"
        ),
        pytest.param(b"\0", lambda c: c.expect_end(), id="octets after the end"),
    ],
)
def test_what_is_not_there_is_not_read(data, read) -> None:
    with pytest.raises(WireError):
        read(Cursor(data))


def test_a_field_does_not_reach_into_the_next() -> None:
    inner = Cursor(b"\x01a\x01b").vector(1)
    assert inner.rest() == b"a"
    with pytest.raises(WireError):
        inner.uint(1)
