"""Tables of network policies, and of the devboxes that are under them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Boolean, ForeignKey, Index, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from stockade.control.store.base import Base, Id, Milliseconds


class PolicyRow(Base):
    """A network policy. *rules* is the policy as `NetworkPolicy.to_mapping` writes it."""

    __tablename__ = "network_policies"
    __table_args__ = (Index("ix_network_policies_name", "account_id", "name"),)

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    account_id: Mapped[str] = mapped_column(Id, ForeignKey("accounts.id"))
    name: Mapped[str] = mapped_column(String(255))
    generation: Mapped[int] = mapped_column(Integer)
    rules: Mapped[dict[str, Any]]
    create_time_ms: Mapped[int] = mapped_column(Milliseconds)
    update_time_ms: Mapped[int] = mapped_column(Milliseconds)


class AttachmentRow(Base):
    """A devbox, not shut down and not failed, that is under a policy.

    *running* says that the host is to have the policy; *generation* is the last one that
    the gateway said is in force, *cut* what that cut, *error* why a later one is not.
    """

    __tablename__ = "policy_attachments"

    devbox_id: Mapped[str] = mapped_column(Id, primary_key=True)
    account_id: Mapped[str] = mapped_column(Id, ForeignKey("accounts.id"))
    policy_id: Mapped[str] = mapped_column(
        Id, ForeignKey("network_policies.id"), index=True
    )
    running: Mapped[bool] = mapped_column(Boolean)
    generation: Mapped[int | None] = mapped_column(Integer)
    at_ms: Mapped[int | None] = mapped_column(Milliseconds)
    cut: Mapped[int] = mapped_column(Integer)
    error: Mapped[str | None] = mapped_column(Text)
