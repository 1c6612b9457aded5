"""What happened in a devbox, and what it has used."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query
from pydantic import BaseModel

from stockade.api.devboxes import Reader
from stockade.api.routing import router
from stockade.api.services import TheServices
from stockade.control.clock import system_clock
from stockade.control.logs import LogLine
from stockade.control.states import Status
from stockade.control.usage import usage_of

routes = router("devbox logs")


class LogView(BaseModel):
    """One line of a devbox's logs."""

    level: str
    source: str
    timestamp_ms: int
    message: str | None
    cmd: str | None
    cmd_id: str | None
    exit_code: int | None


class LogListView(BaseModel):
    """The logs of a devbox, oldest first."""

    logs: list[LogView]


class UsageView(BaseModel):
    """What a devbox has used. A disk counts while it is suspended, too."""

    id: str
    status: Status
    start_time_ms: int
    end_time_ms: int | None
    total_elapsed_seconds: int
    total_active_seconds: int
    vcpu_seconds: int
    memory_gb_seconds: int
    disk_gb_seconds: int


@routes.get("/v1/devboxes/{devbox_id}/logs")
async def list_logs(
    devbox_id: str,
    caller: Reader,
    services: TheServices,
    execution_id: Annotated[str | None, Query(max_length=64)] = None,
) -> LogListView:
    """What was run in a devbox and what it printed, or that of one execution."""
    plane = services.plane
    devbox = await plane.devboxes.get(caller.account, devbox_id)
    return LogListView(
        logs=[_line(line) for line in await plane.logs.of(devbox, execution_id)]
    )


@routes.get("/v1/devboxes/{devbox_id}/usage")
async def get_usage(devbox_id: str, caller: Reader, services: TheServices) -> UsageView:
    """What a devbox has used until now."""
    devbox = await services.plane.devboxes.get(caller.account, devbox_id)
    usage = usage_of(devbox, system_clock())
    return UsageView(
        id=devbox.id,
        status=devbox.status,
        start_time_ms=usage.start_ms,
        end_time_ms=usage.end_ms,
        total_elapsed_seconds=int(usage.elapsed_seconds),
        total_active_seconds=int(usage.active_seconds),
        vcpu_seconds=int(usage.vcpu_seconds),
        memory_gb_seconds=int(usage.memory_gb_seconds),
        disk_gb_seconds=int(usage.disk_gb_seconds),
    )


def _line(line: LogLine) -> LogView:
    return LogView(
        level=line.level,
        source=line.source,
        timestamp_ms=line.at_ms,
        message=line.message,
        cmd=line.command,
        cmd_id=line.command_id,
        exit_code=line.exit_code,
    )
