"""Commands in devboxes: started once, watched to their end, their outputs kept."""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

from stockade.control.changes import Changes
from stockade.control.clock import Clock
from stockade.control.devbox_plans import login_shell, user_of
from stockade.control.devbox_records import Devbox
from stockade.control.execution_records import (
    KEPT,
    KILLED,
    ExecutionRecords,
    Outcome,
    Record,
)
from stockade.control.host import Host
from stockade.control.idempotency import Note, no_note
from stockade.control.ids import Chance, new_id
from stockade.control.shells import in_named_shell
from stockade.control.store.executions import ExecutionRow
from stockade.control.tasks import Tasks
from stockade.errors import Conflict, InvalidRequest, NotFound, StockadeError
from stockade.hosting import ExecutionId, ExecutionPlan, Stream

_PREFIX = "exec"
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_WAIT_SECONDS = 20.0
_MAX_COMMAND = 1 << 20
#: The most that is returned of an output in one answer.
MAX_WHOLE = 16 << 20
_PIECE = 1 << 16


class Executions:
    """Starts commands and knows how far they are. *tasks* owns those who watch them."""

    def __init__(
        self,
        records: ExecutionRecords,
        host: Host,
        changes: Changes,
        tasks: Tasks,
        clock: Clock,
        chance: Chance,
    ) -> None:
        self.records = records
        self._host = host
        self._changes = changes
        self._tasks = tasks
        self._clock = clock
        self._chance = chance

    async def start(
        self,
        devbox: Devbox,
        command: str,
        *,
        id: str | None = None,  # noqa: A002 - the API's word
        attach_stdin: bool = False,
        shell: str | None = None,
        source: str = "exec",
        env: Mapping[str, str] | None = None,
        shown: str | None = None,
        note: Note = no_note,
    ) -> Record:
        """Run *command* in a login shell. The same *id* again is the same execution.

        With *shell* it goes on where the last command in the shell of that name ended.
        *shown* is what the logs say instead of the command. Raises `InvalidRequest` if
        the devbox does not run any more.
        """
        name = self._checked(command, id)
        script = command if shell is None else in_named_shell(shell, command)
        row = ExecutionRow(
            devbox_id=devbox.id,
            id=name,
            account_id=devbox.account,
            source=source,
            command=command if shown is None else shown,
            attach_stdin=attach_stdin,
            created_ms=self._clock(),
        )
        if not await self.records.add(row, note):
            return await self.records.get(devbox.id, name)
        plan = ExecutionPlan(
            ExecutionId(name),
            login_shell(script),
            user_of(devbox.launch),
            env or {},
            attach_stdin=attach_stdin,
        )
        try:
            await self._host.execute(devbox.id, plan)
        except StockadeError as error:
            await self.records.end(devbox.id, name, Outcome(KILLED))
            self._changes.tell(name)
            if isinstance(error, NotFound | Conflict):
                raise InvalidRequest(f"{devbox.id} is not running: {error}") from None
            raise
        found = await self.records.get(devbox.id, name)
        self.watch(found)
        return found

    def watch(self, record: Record) -> None:
        """Keep how an execution that runs will end."""
        self._tasks.start(self._watch(record), f"watch {record.id}")

    async def wait(self, record: Record, seconds: float) -> Record:
        """Wait at most *seconds* for an execution to end."""

        async def ended() -> Record | None:
            found = await self.records.get(record.devbox, record.id)
            return found if found.ended_ms is not None else None

        found = await self._changes.until(record.id, seconds, ended)
        return found or await self.records.get(record.devbox, record.id)

    async def finish(self, record: Record) -> Record:
        """Wait for an execution to end, however long it takes."""
        while record.ended_ms is None:
            record = await self.wait(record, _WAIT_SECONDS)
        return record

    async def give_up(self, record: Record) -> None:
        """Keep what there is of an execution whose devbox does not run any more."""
        if record.ended_ms is None:
            await self._end(record, KILLED)

    async def tail(self, record: Record, stream: Stream) -> bytes:
        """The last bytes of an output, of an execution that runs or has ended."""
        if record.ended_ms is not None:
            return await self.records.kept(record.devbox, record.id, stream)
        return (await self._last(record, stream))[0]

    async def whole(self, record: Record, stream: Stream) -> bytes:
        """An output of an execution that has ended, up to a limit."""
        kept = await self.records.kept(record.devbox, record.id, stream)
        if len(kept) == record.size(stream):
            return kept
        found = bytearray()
        async with aclosing(self.follow(record, stream, 0)) as source:
            async for data in source:
                found += data
                if len(found) >= MAX_WHOLE:
                    break
        return bytes(found[:MAX_WHOLE])

    async def follow(
        self, record: Record, stream: Stream, offset: int
    ) -> AsyncGenerator[bytes, None]:
        """Yield an output from *offset* on, to its end."""
        if record.ended_ms is not None:
            kept = await self.records.kept(record.devbox, record.id, stream)
            first = record.size(stream) - len(kept)
            if offset >= first:
                yield kept[offset - first :]
                return
        try:
            async for data in self._host.follow_output(
                record.devbox, record.id, stream, offset
            ):
                offset += len(data)
                yield data
        except (NotFound, Conflict):
            # The disk is gone, and the outputs with it: what is kept is all there is.
            record = await self.finish(record)
            kept = await self.records.kept(record.devbox, record.id, stream)
            first = record.size(stream) - len(kept)
            yield kept[max(0, offset - first) :]

    async def kill(self, record: Record, *, group: bool) -> Record:
        """End an execution; how it is a moment later."""
        if record.ended_ms is None:
            await self._signal(record, signal.SIGKILL, group=group)
            record = await self.wait(record, 5)
        return record

    async def interrupt(self, record: Record) -> None:
        """Do what the interrupt key of a terminal does."""
        self._require_running(record)
        await self._signal(record, signal.SIGINT, group=True)

    async def send_input(self, record: Record, data: bytes | None) -> None:
        """Write to the standard input; None ends it."""
        self._require_running(record)
        try:
            await self._host.send_input(record.devbox, record.id, data)
        except (NotFound, Conflict) as error:
            raise InvalidRequest(str(error)) from None

    def _checked(self, command: str, name: str | None) -> str:
        if not command or "\0" in command or len(command) > _MAX_COMMAND:
            raise InvalidRequest(
                f"command: a text of 1 to {_MAX_COMMAND} characters is required"
            )
        if name is None:
            return new_id(_PREFIX, self._clock(), self._chance)
        if _ID.fullmatch(name) is None:
            raise InvalidRequest(f"command_id: {name[:80]!r} is not an id")
        return name

    def _require_running(self, record: Record) -> None:
        if record.ended_ms is not None:
            raise InvalidRequest(f"{record.id} has ended")

    async def _signal(self, record: Record, number: int, *, group: bool) -> None:
        try:
            await self._host.signal(record.devbox, record.id, number, group=group)
        except (NotFound, Conflict):
            return  # It has ended meanwhile, which is what was wanted.

    async def _watch(self, record: Record) -> None:
        while True:
            try:
                found = await self._host.wait(record.devbox, record.id, _WAIT_SECONDS)
            except (NotFound, Conflict):
                await self._end(record, KILLED)
                return
            except StockadeError:
                await asyncio.sleep(1)
                continue
            if found.exit_status is not None:
                await self._end(record, found.exit_status)
                return

    async def _end(self, record: Record, status: int) -> None:
        stdout, stdout_size = await self._last(record, Stream.STDOUT)
        stderr, stderr_size = await self._last(record, Stream.STDERR)
        outcome = Outcome(status, stdout, stderr, stdout_size, stderr_size)
        await self.records.end(record.devbox, record.id, outcome)
        self._changes.tell(record.id)

    async def _last(self, record: Record, stream: Stream) -> tuple[bytes, int]:
        """The last bytes of an output as the host has it, and its size."""
        kept = bytearray()
        try:
            state = await self._host.execution(record.devbox, record.id)
            size = state.stdout_size if stream is Stream.STDOUT else state.stderr_size
            offset = max(0, size - KEPT)
            while len(kept) < size - offset:
                data = await self._host.read_output(
                    record.devbox, record.id, stream, offset + len(kept), _PIECE
                )
                if not data:
                    break
                kept += data
        except StockadeError:
            return bytes(kept), len(kept)
        return bytes(kept), offset + len(kept)
