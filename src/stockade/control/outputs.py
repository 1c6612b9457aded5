"""Outputs of commands as text: the last lines, and pieces that split no character."""

from __future__ import annotations

import codecs
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass

DEFAULT_LINES = 100
_CONTINUATION = range(0x80, 0xC0)


@dataclass(frozen=True, slots=True)
class Piece:
    """Part of an output, and the byte position after it."""

    text: str
    end: int


def last_lines(kept: bytes, size: int, count: int) -> tuple[str, bool]:
    """The last *count* lines of an output, and whether there was more before them.

    *kept* are the last bytes of the *size* that there were.
    """
    is_cut = size > len(kept)
    start = len(kept)
    end = len(kept) - 1 if kept.endswith(b"\n") else len(kept)
    for _ in range(count):
        start = kept.rfind(b"\n", 0, end) + 1
        if start == 0:
            break
        end = start - 1
    if count == 0:
        start = len(kept)
    if start == 0 and is_cut:
        start = next(
            (
                at
                for at in range(min(4, size))
                if kept[at : at + 1] and not _inside(kept, at)
            ),
            0,
        )
    return kept[start:].decode(errors="replace"), is_cut or start > 0


async def pieces(
    source: AsyncIterator[bytes], offset: int
) -> AsyncGenerator[Piece, None]:
    """*source*, which begins at *offset*, as text. Bytes that are none become U+FFFD."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    end = offset
    async for data in source:
        end += len(data)
        text = decoder.decode(data)
        if text:
            yield Piece(text, end - len(decoder.getstate()[0]))
    if rest := decoder.decode(b"", final=True):
        yield Piece(rest, end)


def _inside(kept: bytes, at: int) -> bool:
    """Whether a character has begun before *at*."""
    return kept[at] in _CONTINUATION
