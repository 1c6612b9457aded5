"""A bounds-checked reader, so that no parser slices by hand."""

from __future__ import annotations

from stockade.errors import WireError


class Cursor:
    """Reads big-endian fields from the front of a range of *data*, without copying it."""

    __slots__ = ("_at", "_data", "_end")

    def __init__(self, data: bytes, at: int = 0, end: int | None = None) -> None:
        self._data = data
        self._at = at
        self._end = len(data) if end is None else end

    @property
    def remaining(self) -> int:
        """How many octets are left."""
        return self._end - self._at

    def take(self, count: int) -> bytes:
        """The next *count* octets."""
        at = self._advance(count)
        return self._data[at : at + count]

    def rest(self) -> bytes:
        """All octets that are left."""
        return self.take(self._end - self._at)

    def uint(self, size: int) -> int:
        """The next *size* octets as a number."""
        at = self._advance(size)
        return int.from_bytes(self._data[at : at + size], "big")

    def vector(self, size: int) -> Cursor:
        """A field with its length in *size* octets before it."""
        count = self.uint(size)
        at = self._advance(count)
        return Cursor(self._data, at, at + count)

    def expect_end(self) -> None:
        """Refuse octets that belong to nothing."""
        if self._at != self._end:
            raise WireError(f"{self.remaining} octets after the end")

    def _advance(self, count: int) -> int:
        """Step over *count* octets, and say where they begin."""
        at = self._at
        if count > self._end - at:
            raise WireError(f"{count} octets expected, {self._end - at} are there")
        self._at = at + count
        return at
