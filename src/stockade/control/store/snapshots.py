"""The table of disk snapshots."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from stockade.control.store.base import Base, Id, Milliseconds


class SnapshotRow(Base):
    """A disk snapshot, with what a devbox that starts from it inherits."""

    __tablename__ = "snapshots"
    __table_args__ = (Index("snapshots_by_time", "account_id", "created_ms", "id"),)

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"))
    devbox_id: Mapped[str] = mapped_column(ForeignKey("devboxes.id"), index=True)
    blueprint_id: Mapped[str | None] = mapped_column(Id)
    image: Mapped[str] = mapped_column(Text)
    #: The launch parameters that a devbox from it begins with.
    launch: Mapped[dict[str, Any]]
    name: Mapped[str | None] = mapped_column(String(255))
    commit_message: Mapped[str | None] = mapped_column(Text)
    labels: Mapped[dict[str, Any]]
    status: Mapped[str] = mapped_column(String(20))
    error: Mapped[str | None] = mapped_column(Text)
    size: Mapped[int | None] = mapped_column(Milliseconds)
    created_ms: Mapped[int] = mapped_column(Milliseconds)
