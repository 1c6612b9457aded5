"""Commands in devboxes: `/v1/devboxes/{id}/execute…` and `…/executions`."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated

from fastapi import Query
from starlette.responses import Response

from stockade.api.devboxes import Reader, Writer
from stockade.api.execution_shapes import (
    ExecuteAsyncParams,
    ExecuteParams,
    ExecutionView,
    InputParams,
    InputView,
    KillParams,
    SyncView,
    WaitParams,
)
from stockade.api.idempotency import Once
from stockade.api.routing import router
from stockade.api.services import TheServices
from stockade.api.streams import event, event_stream, with_silences
from stockade.control.callers import Caller
from stockade.control.execution_records import Record
from stockade.control.idempotency import Note
from stockade.control.outputs import DEFAULT_LINES, last_lines, pieces
from stockade.control.plane import DevboxPlane
from stockade.errors import HoldElapsed, InvalidRequest, StockadeError
from stockade.hosting import Stream

routes = router("executions")

MAX_HOLD = 25.0
_MAX_LINES = 1_000_000
LastN = Annotated[str | None, Query(max_length=20)]


@routes.post("/v1/devboxes/{devbox_id}/execute_async")
async def execute_async(
    devbox_id: str,
    body: ExecuteAsyncParams,
    caller: Writer,
    services: TheServices,
    once: Once,
) -> ExecutionView:
    """Start a command."""
    plane = services.plane
    devbox = await plane.devboxes.get(caller.account, devbox_id)
    # A request that is sent again is for what was started, also if that has ended.

    async def start(note: Note) -> str:
        devbox.require_running()
        record = await plane.executions.start(
            devbox,
            body.command,
            attach_stdin=bool(body.attach_stdin),
            shell=body.shell_name,
            note=note,
        )
        return record.id

    execution = await once(start)
    record = await plane.executions.records.get(devbox_id, execution)
    return await _view(plane, record, None)


@routes.post("/v1/devboxes/{devbox_id}/execute")
async def execute(
    devbox_id: str,
    body: ExecuteParams,
    caller: Writer,
    services: TheServices,
    last_n: LastN = None,
) -> ExecutionView:
    """Run a command and wait a while for it to end; it goes on if it has not."""
    plane = services.plane
    devbox = await plane.devboxes.get(caller.account, devbox_id)
    record = None
    if body.command_id is not None:
        record = await plane.executions.records.find(devbox_id, body.command_id)
    if record is None:
        devbox.require_running()
        record = await plane.executions.start(
            devbox, body.command, id=body.command_id, shell=body.shell_name
        )
    record = await plane.executions.wait(record, _hold(body.optimistic_timeout))
    return await _view(plane, record, last_n)


@routes.post("/v1/devboxes/{devbox_id}/execute_sync")
async def execute_sync(
    devbox_id: str, body: ExecuteAsyncParams, caller: Writer, services: TheServices
) -> SyncView:
    """Run a command and wait for it to end."""
    plane = services.plane
    if body.attach_stdin:
        raise InvalidRequest("attach_stdin: this call has no standard input")
    devbox = await plane.devboxes.get(caller.account, devbox_id)
    devbox.require_running()
    record = await plane.executions.start(devbox, body.command, shell=body.shell_name)
    record = await plane.executions.finish(record)
    stdout = await plane.executions.whole(record, Stream.STDOUT)
    stderr = await plane.executions.whole(record, Stream.STDERR)
    return SyncView(
        devbox_id=devbox_id,
        exit_status=record.exit_status or 0,
        stdout=stdout.decode(errors="replace"),
        stderr=stderr.decode(errors="replace"),
    )


@routes.get("/v1/devboxes/{devbox_id}/executions/{execution_id}")
async def get_execution(
    devbox_id: str,
    execution_id: str,
    caller: Reader,
    services: TheServices,
    last_n: LastN = None,
) -> ExecutionView:
    """How far an execution is."""
    record = await _record(services.plane, caller, devbox_id, execution_id)
    return await _view(services.plane, record, last_n)


@routes.post("/v1/devboxes/{devbox_id}/executions/{execution_id}/wait_for_status")
async def wait_for_execution(
    devbox_id: str,
    execution_id: str,
    body: WaitParams,
    caller: Reader,
    services: TheServices,
    last_n: LastN = None,
) -> ExecutionView:
    """An execution as soon as it has ended; 408 as long as it has not."""
    plane = services.plane
    record = await _record(plane, caller, devbox_id, execution_id)
    if "running" in body.statuses and record.ended_ms is None:
        return await _view(plane, record, last_n)
    record = await plane.executions.wait(record, _hold(body.timeout_seconds))
    if record.ended_ms is None or "completed" not in body.statuses:
        wanted = ", ".join(body.statuses)
        raise HoldElapsed(f"{execution_id} is not {wanted} as yet; wait again")
    return await _view(plane, record, last_n)


@routes.post("/v1/devboxes/{devbox_id}/executions/{execution_id}/kill")
async def kill_execution(
    devbox_id: str,
    execution_id: str,
    caller: Writer,
    services: TheServices,
    body: KillParams | None = None,
) -> ExecutionView:
    """End an execution."""
    plane = services.plane
    record = await _record(plane, caller, devbox_id, execution_id)
    group = body is not None and bool(body.kill_process_group)
    return await _view(plane, await plane.executions.kill(record, group=group), None)


@routes.post("/v1/devboxes/{devbox_id}/executions/{execution_id}/send_std_in")
async def send_std_in(
    devbox_id: str,
    execution_id: str,
    body: InputParams,
    caller: Writer,
    services: TheServices,
) -> InputView:
    """Write to the standard input of an execution, end it, or interrupt."""
    plane = services.plane
    if bool(body.text) == (body.signal is not None):
        raise InvalidRequest("give either a text that is not empty or a signal")
    record = await _record(plane, caller, devbox_id, execution_id)
    if body.signal == "INTERRUPT":
        await plane.executions.interrupt(record)
    else:
        data = body.text.encode() if body.text else None
        await plane.executions.send_input(record, data)
    return InputView(devbox_id=devbox_id, execution_id=execution_id, success=True)


@routes.get("/v1/devboxes/{devbox_id}/executions/{execution_id}/stream_stdout_updates")
async def stream_stdout(
    devbox_id: str,
    execution_id: str,
    caller: Reader,
    services: TheServices,
    offset: LastN = None,
) -> Response:
    """The standard output from a byte position on, as it is written."""
    record = await _record(services.plane, caller, devbox_id, execution_id)
    return event_stream(_updates(services.plane, record, Stream.STDOUT, _count(offset)))


@routes.get("/v1/devboxes/{devbox_id}/executions/{execution_id}/stream_stderr_updates")
async def stream_stderr(
    devbox_id: str,
    execution_id: str,
    caller: Reader,
    services: TheServices,
    offset: LastN = None,
) -> Response:
    """The standard error from a byte position on, as it is written."""
    record = await _record(services.plane, caller, devbox_id, execution_id)
    return event_stream(_updates(services.plane, record, Stream.STDERR, _count(offset)))


async def _updates(
    plane: DevboxPlane, record: Record, stream: Stream, offset: int
) -> AsyncGenerator[bytes, None]:
    source = pieces(plane.executions.follow(record, stream, offset), offset)
    try:
        async with aclosing(with_silences(source, plane.tasks)) as found:
            async for piece in found:
                if piece is None:
                    yield b": nothing as yet\n\n"
                else:
                    # The position after the piece: where a client goes on from.
                    yield event({"output": piece.text, "offset": piece.end})
    except StockadeError as error:
        yield event({"code": 503, "message": str(error)}, "error")


async def _record(
    plane: DevboxPlane, caller: Caller, devbox: str, execution: str
) -> Record:
    await plane.devboxes.get(caller.account, devbox)
    return await plane.executions.records.get(devbox, execution)


async def _view(
    plane: DevboxPlane, record: Record, last_n: str | None
) -> ExecutionView:
    lines = min(_count(last_n, DEFAULT_LINES), _MAX_LINES)
    found = ExecutionView(
        devbox_id=record.devbox, execution_id=record.id, status="running"
    )
    if record.ended_ms is None:
        return found
    found.status, found.exit_status = "completed", record.exit_status
    kept = await plane.executions.tail(record, Stream.STDOUT)
    size = record.size(Stream.STDOUT)
    found.stdout, found.stdout_truncated = last_lines(kept, size, lines)
    kept = await plane.executions.tail(record, Stream.STDERR)
    size = record.size(Stream.STDERR)
    found.stderr, found.stderr_truncated = last_lines(kept, size, lines)
    return found


def _hold(seconds: float | None) -> float:
    return MAX_HOLD if seconds is None else min(seconds, MAX_HOLD)


def _count(text: str | None, default: int = 0) -> int:
    if text is None or not text:
        return default
    if not (text.isascii() and text.isdigit()):
        raise InvalidRequest(f"{text!r} is not a whole number")
    return int(text)
