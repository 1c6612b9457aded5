"""Records on their way to a subscriber that is too slow for them."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from stockade.gateway import record_stream as module
from stockade.gateway.flowlog import FlowLog, Kind, Subject
from stockade.gateway.record_stream import RecordStream
from stockade.policy.decide import Reason, deny
from tests.unit.gateway.fakes import Clock, run


class Writer:
    """The end of a connection that takes what it is told to."""

    def __init__(self) -> None:
        self.transport = self
        self.waiting = 0
        self.closing = False
        self.lines: list[dict[str, Any]] = []

    def get_write_buffer_size(self) -> int:
        return self.waiting

    def is_closing(self) -> bool:
        return self.closing

    def write(self, data: bytes) -> None:
        self.lines += map(json.loads, data.splitlines())


def test_what_there_is_no_room_for_is_told_later() -> None:
    """Also when nothing follows it: whoever asks for all is told of what is missing."""

    async def main() -> None:
        writer = Writer()
        stream = RecordStream(writer)  # type: ignore[arg-type]
        log = FlowLog(wall_clock=Clock(), clock=Clock())
        log.subscribe(stream.add)

        def deny_some(count: int) -> None:
            for _ in range(count):
                log.open(Subject("dbx_1"), Kind.TCP, deny(Reason.QUIC)).close()

        deny_some(3)
        stream.flush()
        assert [line["id"] for line in writer.lines] == [1, 2, 3]
        writer.waiting = module.MAX_BUFFERED + 1
        deny_some(4)
        stream.flush()
        assert len(writer.lines) == 3
        writer.waiting = 0
        stream.flush()
        assert writer.lines[3:] == [{"missed": 4}]
        deny_some(1)
        await asyncio.sleep(2 * module.BATCH_SECONDS)
        assert writer.lines[4]["id"] == 8
        writer.closing = True
        deny_some(1)
        stream.flush()
        assert len(writer.lines) == 5

    run(main())
