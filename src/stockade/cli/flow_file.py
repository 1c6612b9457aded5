"""The file of `--flows`: one record a line, and a count of those it has no room for.

It is written by a thread: neither a full disk nor one that does not answer may hold up a
run. A line is in the file whole or not at all.
"""

from __future__ import annotations

import os
import queue
import threading
from pathlib import Path

from stockade.errors import InvalidRequest
from stockade.gateway.flowlog import FlowRecord

#: Records that wait for the disk; further ones are not taken.
MAX_WAITING = 100_000
#: How long a run waits at its end for a disk that does not answer.
END_SECONDS = 5.0


class FlowFile:
    """Writes records to *path*, which is emptied. Raises `InvalidRequest` if it cannot."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
            self._fd = os.open(path, flags, 0o666)
        except OSError as error:
            raise InvalidRequest(f"--flows {path}: {error.strerror}") from None
        self._waiting: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._length = 0
        self._lost = 0
        self._refused = 0
        self._problem: OSError | None = None
        self._writer = threading.Thread(target=self._write_all, daemon=True)

    def write(self, record: FlowRecord) -> None:
        """Have *record* written; returns at once."""
        if (
            self._writer.ident is None
        ):  # Not before: a process with threads forks badly.
            self._writer.start()
        if self._waiting.qsize() < MAX_WAITING:
            self._waiting.put(record.to_json() + "\n")
        else:
            self._refused += 1

    def miss(self, count: int) -> None:
        """Count records that were lost on their way here."""
        self._refused += count

    def close(self) -> None:
        """Write what waits, and no more. Not to be called twice."""
        if self._writer.ident is None:
            os.close(self._fd)
            return
        self._waiting.put(None)
        self._writer.join(END_SECONDS)

    def complaint(self) -> str | None:
        """After `close`: what is not in the file, and why; None if all is."""
        unwritten = self._waiting.qsize() if self._writer.is_alive() else 0
        lost = self._lost + self._refused + unwritten
        if not lost:
            return None
        why = "there was no room for them"
        if unwritten:
            why = "it takes too long to write them"
        if self._problem is not None:
            why = self._problem.strerror or str(self._problem)
        records = "record is" if lost == 1 else "records are"
        return f"{lost} flow {records} not in {self._path}: {why}"

    def _write_all(self) -> None:
        while (line := self._waiting.get()) is not None:
            try:
                self._write(line.encode("ascii"))
            except OSError as error:
                self._lost += 1
                self._problem = error
        os.close(self._fd)

    def _write(self, line: bytes) -> None:
        rest = line
        try:
            while rest:
                rest = rest[os.write(self._fd, rest) :]
        except OSError:
            if rest != line:
                os.ftruncate(self._fd, self._length)
                os.lseek(self._fd, self._length, os.SEEK_SET)
            raise
        self._length += len(line)
