"""The table of secrets, whose values are encrypted."""

from __future__ import annotations

from sqlalchemy import ForeignKey, LargeBinary, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from stockade.control.store.base import Base, Id, Milliseconds


class SecretRow(Base):
    """A secret of an account."""

    __tablename__ = "secrets"
    __table_args__ = (UniqueConstraint("account_id", "name"),)

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    account_id: Mapped[str] = mapped_column(Id, ForeignKey("accounts.id"))
    name: Mapped[str] = mapped_column(String(255))
    sealed: Mapped[bytes] = mapped_column(LargeBinary)
    create_time_ms: Mapped[int] = mapped_column(Milliseconds)
    update_time_ms: Mapped[int] = mapped_column(Milliseconds)
