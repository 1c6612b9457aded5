"""The table of executions, with the beginning of what they wrote."""

from __future__ import annotations

from sqlalchemy import ForeignKey, Index, LargeBinary, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from stockade.control.store.base import Base, Id, Milliseconds


class ExecutionRow(Base):
    """A command in a devbox. Its outputs are kept here when it has ended.

    The host has all of an output as long as the devbox has a disk; here are its last
    bytes, so that they can be read for longer.
    """

    __tablename__ = "executions"
    __table_args__ = (Index("executions_by_time", "devbox_id", "created_ms"),)

    devbox_id: Mapped[str] = mapped_column(ForeignKey("devboxes.id"), primary_key=True)
    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    account_id: Mapped[str] = mapped_column(Id)
    source: Mapped[str] = mapped_column(String(20))
    command: Mapped[str] = mapped_column(Text)
    attach_stdin: Mapped[bool]
    created_ms: Mapped[int] = mapped_column(Milliseconds)
    ended_ms: Mapped[int | None] = mapped_column(Milliseconds)
    exit_status: Mapped[int | None]
    stdout: Mapped[bytes | None] = mapped_column(LargeBinary, deferred=True)
    stderr: Mapped[bytes | None] = mapped_column(LargeBinary, deferred=True)
    #: How many bytes there were, of which the last are kept.
    stdout_size: Mapped[int] = mapped_column(Milliseconds, default=0)
    stderr_size: Mapped[int] = mapped_column(Milliseconds, default=0)
