"""The table of storage objects. Their content is in a directory."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from stockade.control.store.base import Base, Id, Milliseconds


class ObjectRow(Base):
    """A storage object of an account; one that was deleted stays, as deleted."""

    __tablename__ = "objects"

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    account_id: Mapped[str] = mapped_column(Id, ForeignKey("accounts.id"), index=True)
    name: Mapped[str] = mapped_column(String(1024))
    content_type: Mapped[str] = mapped_column(String(20))
    state: Mapped[str] = mapped_column(String(20))
    # The column is not called `metadata`: SQLAlchemy's own is.
    labels: Mapped[dict[str, Any]]
    size_bytes: Mapped[int | None] = mapped_column(Milliseconds)
    create_time_ms: Mapped[int] = mapped_column(Milliseconds)
    delete_after_ms: Mapped[int | None] = mapped_column(Milliseconds, index=True)
