"""Generations on their way to the devboxes that run under a policy.

`push` returns when the gateway has said of every running devbox that the latest
generation is in force there, or why not. What failed is tried again until it is in
force, or the devbox does not run any more.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Final, Protocol, Self

from sqlalchemy import select

from stockade.control.attachments import attachments, push_of, record
from stockade.control.store.base import Store
from stockade.control.store.policies import AttachmentRow, PolicyRow
from stockade.errors import EnforcementError, StockadeError
from stockade.hosting import PolicyInForce
from stockade.spec import DevboxId, PolicyPush

_RETRY_SECONDS: Final = 1.0

_log = logging.getLogger(__name__)


class PolicyHost(Protocol):
    """The part of `control.host.Host` that policies need."""

    async def update_policy(
        self, devboxes: Sequence[DevboxId], push: PolicyPush
    ) -> Mapping[DevboxId, PolicyInForce | StockadeError]:
        """Put a generation in force for many devboxes at once; what came of each."""


class Rollouts:
    """Pushes policies to the host. Use it in an `async with` block."""

    def __init__(self, store: Store, host: PolicyHost) -> None:
        self._store = store
        self._host = host
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._tasks = asyncio.TaskGroup()
        self._behind: set[str] = set()
        self._retrying: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Start trying again what fails."""
        await self._tasks.__aenter__()
        self._retrying = self._tasks.create_task(self._retry())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End it."""
        if self._retrying is not None:
            self._retrying.cancel()
        # What happened in the block is not one of the tasks' errors.
        await self._tasks.__aexit__(None, None, None)

    async def push(self, policy_id: str) -> None:
        """Push the latest generation to the running devboxes that do not have it."""
        self._behind.add(policy_id)
        async with self._turns[policy_id]:
            if await self._push(policy_id):
                self._behind.discard(policy_id)

    async def started(self, in_force: PolicyInForce) -> None:
        """Note what a devbox was started with; push again if that is not the latest.

        Raises `EnforcementError` if the latest cannot be put in force: nothing is to run
        under an older one, which may allow more.
        """
        if not in_force.policy_id:
            return
        async with self._store.begin() as session:
            await record(session, {in_force.devbox: in_force})
            row = await session.get(PolicyRow, in_force.policy_id)
        if row is None or row.generation == in_force.generation:
            return
        await self.push(in_force.policy_id)
        async with self._store.read() as session:
            found = await session.get(AttachmentRow, in_force.devbox)
        if found is not None and (found.generation or 0) < row.generation:
            raise EnforcementError(
                f"generation {row.generation} of {row.id} is not in force: {found.error}"
            )

    async def _push(self, policy_id: str) -> bool:
        """Push to those that do not have the latest; whether all of them have it then."""
        async with self._store.read() as session:
            row = await session.get(PolicyRow, policy_id)
            under = await attachments(session, policy_id)
        if row is None:
            self._turns.pop(policy_id, None)
            return True
        wanted = [
            found.devbox
            for found in under
            if found.running and found.generation != row.generation
        ]
        if not wanted:
            return True
        outcome: Mapping[DevboxId, PolicyInForce | StockadeError]
        try:
            outcome = await self._host.update_policy(wanted, push_of(row))
        except StockadeError as error:
            outcome = dict.fromkeys(wanted, error)
        async with self._store.begin() as session:
            await record(session, outcome)
        failed = [r for r in outcome.values() if isinstance(r, StockadeError)]
        if failed:
            fields = {"policy_id": policy_id, "devboxes": len(failed)}
            reason = str(failed[0])
            _log.warning("a policy is not in force", extra={**fields, "reason": reason})
        return not failed

    async def _retry(self) -> None:
        async with self._store.read() as session:
            query = (
                select(PolicyRow.id)
                .join(AttachmentRow, AttachmentRow.policy_id == PolicyRow.id)
                .where(AttachmentRow.running)
                .distinct()
            )
            self._behind.update((await session.execute(query)).scalars())
        while True:
            await asyncio.sleep(_RETRY_SECONDS)
            for policy_id in tuple(self._behind):
                try:
                    await self.push(policy_id)
                except Exception:  # noqa: BLE001 - whatever it is, the rest goes on
                    # It is tried again: a database may be away for a moment.
                    _log.exception("push", extra={"policy_id": policy_id})
