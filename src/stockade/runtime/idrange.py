"""Ranges of user ids, one for each devbox of the machine.

A range is taken by creating a file named after its first id, with the box directory in
it. The file outlives the process that took it: processes of the devbox may, too. It is
free again when it is deleted, or when its box directory is gone.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stockade.errors import Unavailable

RANGE_SIZE = 0x1_0000
# Above what login tools and container tools hand out by default, below the sign bit.
FIRST_ID = 0x2000_0000
LAST_ID = 0x7FFD_FFFF
_SUBORDINATE = (Path("/etc/subuid"), Path("/etc/subgid"))


@dataclass(frozen=True, slots=True)
class IdRange:
    """65536 ids beginning at *base*, and the file that reserves them."""

    base: int
    reservation: Path


def reserve(directory: Path, owner: Path) -> IdRange:
    """Reserve a free range for the box directory *owner*; files are kept in *directory*.

    The search begins anywhere, so that users of different directories rarely meet.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    taken = list(subordinate_ranges(_SUBORDINATE))
    count = (LAST_ID + 1 - FIRST_ID) // RANGE_SIZE
    first = int.from_bytes(os.urandom(4)) % count
    with _locked(directory):
        for offset in range(count):
            base = FIRST_ID + (first + offset) % count * RANGE_SIZE
            if any(start < base + RANGE_SIZE and base < end for start, end in taken):
                continue
            reservation = directory / f"{base:08x}"
            if _claim(reservation, owner):
                return IdRange(base, reservation)
    raise Unavailable(f"all {count} ranges of user ids are in use ({directory})")


def release(reservation: Path, owner: Path) -> None:
    """Free a range, if it still belongs to *owner*."""
    with contextlib.suppress(FileNotFoundError):
        if reservation.read_text() == str(owner):
            reservation.unlink()


def subordinate_ranges(files: tuple[Path, ...]) -> Iterator[tuple[int, int]]:
    """Yield (first, end) of the ranges that other container tools were given."""
    for file in files:
        try:
            lines = file.read_text().splitlines()
        except OSError:
            continue  # a machine without the file has given none
        for line in lines:
            fields = line.split(":")
            if len(fields) == 3 and fields[1].isdecimal() and fields[2].isdecimal():
                yield int(fields[1]), int(fields[1]) + int(fields[2])


def _claim(reservation: Path, owner: Path) -> bool:
    """Write *owner* into *reservation* unless another box that exists has it."""
    try:
        holder = reservation.read_text()
    except FileNotFoundError:
        holder = ""
    if holder and Path(holder).exists():
        return False
    reservation.write_text(str(owner))
    return True


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Keep other processes from searching at the same time."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
