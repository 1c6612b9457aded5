"""What a target is, and the one way to call it."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass

#: What any input may cost, in seconds of this process: all are small.
MAX_SECONDS = 1.0


class Finding(AssertionError):
    """An invariant that does not hold for this input."""


@dataclass(frozen=True, slots=True)
class Target:
    """One thing to fuzz: its check, and what the fuzzer should begin with.

    *words* are what the fuzzer may insert, *max_len* is how long an input may grow.
    *cost* is how long one input takes, compared with the quickest target: a default run
    gives each target about the same time.
    """

    name: str
    check: Callable[[bytes], None]
    seeds: tuple[bytes, ...]
    words: tuple[bytes, ...] = ()
    max_len: int = 512
    cost: float = 1.0

    def run(self, data: bytes) -> None:
        """Check one input. Any exception is a finding, and so is one that takes long."""
        began = time.process_time()
        self.check(data)
        took = time.process_time() - began
        if took > MAX_SECONDS:
            raise Finding(f"{took:.1f} s for {len(data)} octets")


def expect(holds: object, what: str, *facts: object) -> None:
    """Raise `Finding` unless *holds*. An `assert` that no option switches off."""
    if not holds:
        raise Finding(": ".join((what, *map(repr, facts))))


class Thoroughness:
    """Whether what costs most is done for each input, or for one in some.

    The fuzzer is sparing: comparing the same kind of input once more teaches less than ten
    other inputs. A replay is not, so it finds whatever the fuzzer may have passed over.
    """

    is_sparing = False


def is_due(data: bytes, one_in: int) -> bool:
    """Whether to do for *data* what costs most."""
    return not Thoroughness.is_sparing or not chance(data, one_in)


def chance(data: bytes, limit: int) -> int:
    """A number below *limit* that depends on *data* only, so that a replay has the same."""
    return zlib.crc32(data) % limit
