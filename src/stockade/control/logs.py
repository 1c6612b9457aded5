"""What happened in a devbox, as lines: what was run, what it printed, how it ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stockade.control.devbox_records import Devbox, DevboxRecords
from stockade.control.execution_records import Record
from stockade.control.executions import Executions
from stockade.control.outputs import last_lines
from stockade.errors import NotFound
from stockade.hosting import Stream

_EXECUTIONS = 200
_LINES = 1_000


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of a devbox's logs."""

    level: str
    source: str
    at_ms: int
    message: str | None = None
    command: str | None = None
    command_id: str | None = None
    exit_code: int | None = None


class Logs:
    """Puts logs together from what is kept of executions."""

    def __init__(self, records: DevboxRecords, executions: Executions) -> None:
        self._records = records
        self._executions = executions

    async def of(self, devbox: Devbox, execution: str | None) -> Sequence[LogLine]:
        """The lines of a devbox, or of one execution of it, in the order of time."""
        if execution is not None:
            try:
                record = await self._executions.records.get(devbox.id, execution)
            except NotFound:
                return []
            return await self._lines(record)
        found = [
            LogLine(row.level, row.source, row.at_ms, row.message)
            for row in await self._records.notes(devbox.id)
        ]
        for record in await self._executions.records.of(devbox.id, _EXECUTIONS):
            found += await self._lines(record)
        return sorted(found, key=lambda line: line.at_ms)

    async def _lines(self, record: Record) -> list[LogLine]:
        lines = [
            LogLine(
                "info",
                record.source,
                record.created_ms,
                command=record.command,
                command_id=record.id,
            )
        ]
        printed_ms = record.ended_ms or record.created_ms
        for stream, level in ((Stream.STDOUT, "info"), (Stream.STDERR, "error")):
            kept = await self._executions.tail(record, stream)
            text, _ = last_lines(kept, len(kept), _LINES)
            lines += [
                LogLine(level, record.source, printed_ms, line, command_id=record.id)
                for line in text.splitlines()
            ]
        if record.exit_status is not None:
            lines.append(
                LogLine(
                    "info" if record.exit_status == 0 else "error",
                    record.source,
                    printed_ms,
                    command_id=record.id,
                    exit_code=record.exit_status,
                )
            )
        return lines
