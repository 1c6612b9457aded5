"""Ids of resources: a prefix that says what it is, and 21 characters that say which.

The first eight are the time, so ids of one kind sort by creation; the others are chance.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from stockade.errors import InvalidRequest

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
LENGTH = 21
_TIME = 8
_TAIL = re.compile(f"[{ALPHABET}]{{{LENGTH}}}", re.ASCII)

#: Gives so many bytes of chance, as `os.urandom`.
Chance = Callable[[int], bytes]


def new_id(prefix: str, now_ms: int, chance: Chance) -> str:
    """An id that nobody has, as `dbx_0VQ2k9xPb7yJ0mWcD3zTq`."""
    drawn = int.from_bytes(chance(16), "big")
    return f"{prefix}_{_digits(now_ms, _TIME)}{_digits(drawn, LENGTH - _TIME)}"


def check_id(prefix: str, text: str) -> str:
    """*text*, if it has the form of such an id. Raises `InvalidRequest`."""
    head, _, tail = text.partition("_")
    if head != prefix or _TAIL.fullmatch(tail) is None:
        raise InvalidRequest(
            f"{text[:80]!r} is not an id of this kind: {prefix}_ and {LENGTH} letters "
            "and digits"
        )
    return text


def _digits(number: int, count: int) -> str:
    """The lowest *count* digits of *number*."""
    digits = []
    for _ in range(count):
        number, digit = divmod(number, len(ALPHABET))
        digits.append(ALPHABET[digit])
    return "".join(reversed(digits))
