"""Tables of devboxes and of what is logged about them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from stockade.control.store.base import Base, Id, Milliseconds


class DevboxRow(Base):
    """A devbox. The secrets it is given are kept as names only."""

    __tablename__ = "devboxes"
    __table_args__ = (
        Index("devboxes_by_time", "account_id", "created_ms", "id"),
        Index("devboxes_by_deadline", "status", "deadline_ms"),
    )

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"))
    name: Mapped[str | None] = mapped_column(String(255))
    status: Mapped[str] = mapped_column(String(20))
    image: Mapped[str] = mapped_column(Text)
    blueprint_id: Mapped[str | None] = mapped_column(Id)
    snapshot_id: Mapped[str | None] = mapped_column(Id)
    launch: Mapped[dict[str, Any]]
    environment: Mapped[dict[str, Any]]
    secrets: Mapped[dict[str, Any]]
    # The column is not called `metadata`: SQLAlchemy's own is.
    labels: Mapped[dict[str, Any]]
    entrypoint: Mapped[str | None] = mapped_column(Text)
    #: Pairs of a status and its time; the third of a failure is its reason.
    transitions: Mapped[list[Any]]
    #: Counts the starts, so that executions of one are told from those of another.
    boots: Mapped[int] = mapped_column(default=0)
    created_ms: Mapped[int] = mapped_column(Milliseconds)
    ended_ms: Mapped[int | None] = mapped_column(Milliseconds)
    #: When it is to be suspended or shut down, if nothing puts that off.
    deadline_ms: Mapped[int | None] = mapped_column(Milliseconds)
    failure_reason: Mapped[str | None] = mapped_column(String(40))
    shutdown_reason: Mapped[str | None] = mapped_column(String(40))


class DevboxLogRow(Base):
    """A line about a devbox that no command printed."""

    __tablename__ = "devbox_logs"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    devbox_id: Mapped[str] = mapped_column(ForeignKey("devboxes.id"), index=True)
    level: Mapped[str] = mapped_column(String(10))
    source: Mapped[str] = mapped_column(String(20))
    at_ms: Mapped[int] = mapped_column(Milliseconds)
    message: Mapped[str] = mapped_column(Text)
