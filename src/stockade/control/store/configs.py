"""The table of upstream configs: how the agent gateway and the MCP hub reach a service."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ForeignKey, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from stockade.control.store.base import Base, Id, Milliseconds


class ConfigRow(Base):
    """A config of an account; without an account, one that all accounts have."""

    __tablename__ = "upstream_configs"

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    account_id: Mapped[str | None] = mapped_column(
        Id, ForeignKey("accounts.id"), index=True
    )
    kind: Mapped[str] = mapped_column(String(20))
    name: Mapped[str] = mapped_column(String(255))
    endpoint: Mapped[str] = mapped_column(Text)
    auth: Mapped[dict[str, Any]]
    headers: Mapped[list[Any]]
    allowed_tools: Mapped[list[Any]]
    description: Mapped[str | None] = mapped_column(Text)
    create_time_ms: Mapped[int] = mapped_column(Milliseconds)
