"""The table of requests that were carried out, by the key their callers gave them."""

from __future__ import annotations

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from stockade.control.store.base import Base, Id, Milliseconds


class RequestRow(Base):
    """A request that made a resource. *body* is a digest of what was asked for."""

    __tablename__ = "idempotent_requests"

    account_id: Mapped[str] = mapped_column(Id, primary_key=True)
    route: Mapped[str] = mapped_column(String(255), primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    body: Mapped[str] = mapped_column(String(64))
    resource_id: Mapped[str] = mapped_column(Id, index=True)
    create_time_ms: Mapped[int] = mapped_column(Milliseconds, index=True)
