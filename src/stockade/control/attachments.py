"""Which devbox is under which policy, and which generation is in force there.

The service of devboxes calls these functions in its own transactions, so that a policy
is in use exactly as long as a devbox uses it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from stockade.control.ids import check_id
from stockade.control.store.policies import AttachmentRow, PolicyRow
from stockade.errors import EnforcementError, InvalidRequest, StockadeError
from stockade.hosting import PolicyInForce
from stockade.policy.model import NetworkPolicy
from stockade.spec import DevboxId, PolicyPush

_MAX_ERROR: Final = 2000

#: What a devbox without a policy is under: everything, but for the guardrails.
UNRESTRICTED = PolicyPush(
    "",
    0,
    NetworkPolicy(
        name="none",
        allow_all=True,
        allow_devbox_to_devbox=True,
        allow_agent_gateway=True,
        allow_mcp_gateway=True,
        allow_runloop_mirrors=True,
    ),
)


@dataclass(frozen=True, slots=True)
class Attachment:
    """A devbox under a policy; *generation* None: none was in force yet."""

    devbox: DevboxId
    generation: int | None
    at_ms: int | None
    cut: int
    error: str | None
    running: bool


async def attach(
    session: AsyncSession, account: str, devbox: DevboxId, policy_id: str
) -> PolicyPush:
    """Put a devbox under a policy of the account; what to push for it.

    Raises `InvalidRequest` if there is no such policy: a request that names one that is
    not there is not to be carried out without it.
    """
    check_id("npol", policy_id)
    # Locked where the database locks rows, so that it is not deleted meanwhile.
    query = select(PolicyRow).where(PolicyRow.id == policy_id).with_for_update()
    row = (await session.execute(query)).scalar_one_or_none()
    if row is None or row.account_id != account:
        raise InvalidRequest(f"there is no network policy {policy_id}").coded(
            "unknown_network_policy", network_policy_id=policy_id
        )
    session.add(
        AttachmentRow(
            devbox_id=devbox,
            account_id=account,
            policy_id=policy_id,
            running=False,
            generation=None,
            at_ms=None,
            cut=0,
            error=None,
        )
    )
    await session.flush()
    return push_of(row)


async def set_running(
    session: AsyncSession, devbox: DevboxId, *, running: bool
) -> None:
    """Note that the host is to have the policy of a devbox, or not any more.

    Call it before the devbox is started, so that no change of the policy is missed.
    """
    await session.execute(
        update(AttachmentRow)
        .where(AttachmentRow.devbox_id == devbox)
        .values(running=running)
    )


async def detach(session: AsyncSession, devbox: DevboxId) -> None:
    """Note that a devbox is shut down or has failed: it uses its policy no more."""
    await session.execute(
        delete(AttachmentRow).where(AttachmentRow.devbox_id == devbox)
    )


async def current_push(
    session: AsyncSession, devbox: DevboxId, policy_id: str | None
) -> PolicyPush:
    """The latest generation for a devbox; `UNRESTRICTED` if it is to be under no policy.

    Raises `EnforcementError` for one that is to be under *policy_id* and is not attached
    to it, as when it has ended meanwhile: it is not to start without.
    """
    if policy_id is None:
        return UNRESTRICTED
    query = (
        select(PolicyRow)
        .join(AttachmentRow, AttachmentRow.policy_id == PolicyRow.id)
        .where(AttachmentRow.devbox_id == devbox, PolicyRow.id == policy_id)
    )
    row = (await session.execute(query)).scalar_one_or_none()
    if row is None:
        raise EnforcementError(f"{devbox} is not under {policy_id} any more")
    return push_of(row)


async def record(
    session: AsyncSession, outcome: Mapping[DevboxId, PolicyInForce | StockadeError]
) -> None:
    """Note which generation is in force in which devbox, or why the latest is not."""
    query = select(AttachmentRow).where(AttachmentRow.devbox_id.in_(outcome))
    for row in (await session.execute(query)).scalars():
        result = outcome[DevboxId(row.devbox_id)]
        if isinstance(result, StockadeError):
            row.error = str(result)[:_MAX_ERROR]
        elif result.policy_id == row.policy_id and result.generation >= (
            row.generation or 0
        ):
            row.generation = result.generation
            row.at_ms = result.at_ms
            row.cut = result.cut
            row.error = None


async def attachments(session: AsyncSession, policy_id: str) -> Sequence[Attachment]:
    """The devboxes under a policy, oldest first."""
    query = select(AttachmentRow).where(AttachmentRow.policy_id == policy_id)
    rows = await session.execute(query.order_by(AttachmentRow.devbox_id))
    return [
        Attachment(
            devbox=DevboxId(row.devbox_id),
            generation=row.generation,
            at_ms=row.at_ms,
            cut=row.cut,
            error=row.error,
            running=row.running,
        )
        for row in rows.scalars()
    ]


def push_of(row: PolicyRow) -> PolicyPush:
    """What is pushed for a policy."""
    return PolicyPush(row.id, row.generation, NetworkPolicy.from_mapping(row.rules))
