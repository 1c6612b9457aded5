"""Hands flow records to one subscriber, in batches: a connection must not wait for them."""

from __future__ import annotations

import asyncio
import json

from stockade.gateway.flowlog import FlowRecord

MAX_BUFFERED = 16 << 20
#: What a gateway that is killed may lose of its announcements, in seconds.
BATCH_SECONDS = 0.02


class RecordStream:
    """Writes records as lines of JSON; counts those for which there is no room."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[int, FlowRecord] = {}
        self._missed = 0

    def add(self, record: FlowRecord) -> None:
        """Take a record; it is written within `BATCH_SECONDS`.

        A flow that ends before it was announced is written once, as one that has ended.
        A lookup is written before its answer is given: the next gateway has to know it.
        """
        if not self._waiting:
            self._loop.call_later(BATCH_SECONDS, self.flush)
        self._waiting[record.id] = record
        if record.addresses and not record.ended:
            self.flush()

    def flush(self) -> None:
        """Write what waits, or count it as missed when the subscriber is too slow."""
        waiting, self._waiting = self._waiting, {}
        if not (waiting or self._missed) or self._writer.is_closing():
            return
        if self._writer.transport.get_write_buffer_size() > MAX_BUFFERED:
            self._missed += len(waiting)
            return
        lines = [record.to_json() for record in waiting.values()]
        if self._missed:
            lines.append(json.dumps({"missed": self._missed}))
            self._missed = 0
        self._writer.write("".join(f"{line}\n" for line in lines).encode("ascii"))
