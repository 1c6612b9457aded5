"""Bodies and answers of the routes of executions."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

Seconds = Annotated[float | None, Field(ge=0, allow_inf_nan=False)]


class ExecuteAsyncParams(BaseModel):
    """A command to start."""

    command: str
    attach_stdin: bool | None = None
    shell_name: str | None = None


class ExecuteParams(BaseModel):
    """A command to run. The same *command_id* again is the same execution."""

    command: str
    command_id: str | None = None
    optimistic_timeout: Seconds = None
    shell_name: str | None = None


class WaitParams(BaseModel):
    """What to wait for, and for how long an answer may be held back."""

    statuses: Annotated[
        list[Literal["queued", "running", "completed"]],
        Field(min_length=1, max_length=5),
    ]
    timeout_seconds: Seconds = None


class KillParams(BaseModel):
    """Whether its whole process group is to end, too."""

    kill_process_group: bool | None = None


class InputParams(BaseModel):
    """One of the two: a text to write, or a signal."""

    text: str | None = None
    signal: Literal["EOF", "INTERRUPT"] | None = None


class InputView(BaseModel):
    """Whether the input has arrived."""

    devbox_id: str
    execution_id: str
    success: bool


class ExecutionView(BaseModel):
    """An execution. What it wrote is told when it has ended."""

    devbox_id: str
    execution_id: str
    status: Literal["running", "completed"]
    exit_status: int | None = None
    stdout: str | None = None
    stderr: str | None = None
    stdout_truncated: bool | None = None
    stderr_truncated: bool | None = None


class SyncView(BaseModel):
    """How a command ended, and all that it wrote."""

    devbox_id: str
    exit_status: int
    stdout: str
    stderr: str
