"""The flow records of all served devboxes: JSON lines in two files of bounded size."""

from __future__ import annotations

import logging
import os
import queue
import threading
from pathlib import Path
from typing import Final, Self

from stockade.errors import Unavailable
from stockade.gateway.flowlog import FlowRecord

#: When a file is as large as this it becomes the older one, and the oldest goes.
FILE_BYTES: Final = 256 << 20
#: Records that wait for the disk; further ones are not taken.
MAX_WAITING: Final = 100_000

_log = logging.getLogger(__name__)


class FlowJournal:
    """Writes records to *directory*/flows.jsonl, by a thread: a disk may be slow or full.

    A line is in the file whole or not at all. `missed` counts those that are not.
    """

    def __init__(self, directory: Path, limit: int = FILE_BYTES) -> None:
        self._path = directory / "flows.jsonl"
        self._limit = limit
        self._waiting: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._writer = threading.Thread(target=self._write_all, daemon=True)
        self.missed = 0

    def __enter__(self) -> Self:
        """Begin. Raises `Unavailable` if the file cannot be written."""
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(self._open())
        except OSError as error:
            raise Unavailable(f"{self._path}: {error.strerror}") from None
        self._writer.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Write what waits, and no more."""
        self._waiting.put(None)
        self._writer.join()

    def write(self, record: FlowRecord) -> None:
        """Have a record written; returns at once."""
        if self._waiting.qsize() < MAX_WAITING:
            self._waiting.put(record.to_json() + "\n")
        else:
            self.miss(1)

    def miss(self, count: int) -> None:
        """Count records that were lost on their way here."""
        self.missed += count

    def _write_all(self) -> None:
        while (line := self._waiting.get()) is not None:
            lines = [line]
            while len(lines) < 1000 and not self._waiting.empty():
                line = self._waiting.get()
                if line is None:
                    self._waiting.put(None)
                    break
                lines.append(line)
            self._append(lines)

    def _append(self, lines: list[str]) -> None:
        data = "".join(lines).encode()
        try:
            descriptor = self._open()
            try:
                size = os.fstat(descriptor).st_size
                written = os.write(descriptor, data)
                if written < len(data):
                    os.ftruncate(descriptor, size)
                    raise OSError(None, "the disk is full")
            finally:
                os.close(descriptor)
            if size + len(data) > self._limit:
                self._path.replace(self._path.with_suffix(".1.jsonl"))
        except OSError as error:
            if not self.missed:
                _log.error("flow records cannot be kept: %s", error.strerror)
            self.miss(len(lines))

    def _open(self) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        return os.open(self._path, flags, 0o600)
