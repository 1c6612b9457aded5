"""Tables of accounts and their keys. Of a key there is a digest, never the key."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from stockade.control.store.base import Base, Id, Milliseconds


class AccountRow(Base):
    """An account."""

    __tablename__ = "accounts"

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    name: Mapped[str] = mapped_column(String(255), unique=True)
    create_time_ms: Mapped[int] = mapped_column(Milliseconds)


class KeyRow(Base):
    """A key of an account. Without *scopes* it may do everything."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    account_id: Mapped[str] = mapped_column(Id, ForeignKey("accounts.id"), index=True)
    name: Mapped[str] = mapped_column(String(255))
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    scopes: Mapped[dict[str, Any] | None]
    create_time_ms: Mapped[int] = mapped_column(Milliseconds)
    expires_at_ms: Mapped[int | None] = mapped_column(Milliseconds)
