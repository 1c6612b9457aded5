"""Network policies of an account: create, change, delete, and who uses them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from stockade.control.attachments import Attachment, attachments
from stockade.control.clock import Clock
from stockade.control.idempotency import Note, forget_resource, no_note
from stockade.control.ids import Chance, check_id, new_id
from stockade.control.policy_reading import read_policy
from stockade.control.rollouts import Rollouts
from stockade.control.store.base import Store
from stockade.control.store.pages import Page, PageQuery, contains, read_page
from stockade.control.store.policies import PolicyRow
from stockade.errors import Conflict, InvalidRequest, NotFound
from stockade.policy.model import NetworkPolicy

PREFIX = "npol"
_SHOWN = 5
_REMEMBERED = 1_000


@dataclass(frozen=True, slots=True)
class PolicyRules:
    """What an operator sets: how many policies, and whether names may repeat."""

    limit: int = 100
    unique_names: bool = True


@dataclass(frozen=True, slots=True)
class StoredPolicy:
    """A network policy with its id, its generation and its times."""

    id: str
    policy: NetworkPolicy
    generation: int
    create_time_ms: int
    update_time_ms: int


@dataclass(frozen=True, slots=True)
class Rollout:
    """How far the latest generation of a policy is, for each devbox under it."""

    policy: StoredPolicy
    devboxes: Sequence[Attachment]


class Policies:
    """Network policies in the database, pushed through *rollouts* when they change."""

    def __init__(
        self,
        store: Store,
        rollouts: Rollouts,
        clock: Clock,
        chance: Chance,
        rules: PolicyRules | None = None,
    ) -> None:
        self._store = store
        self._rollouts = rollouts
        self._clock = clock
        self._chance = chance
        self._rules = rules or PolicyRules()
        # Counting and looking for a name is one step with writing, on every database.
        self._turn = asyncio.Lock()
        self._read: dict[str, StoredPolicy] = {}

    async def create(
        self, account: str, raw: Mapping[str, object], note: Note = no_note
    ) -> str:
        """Create a policy from the fields of a request; its id."""
        policy = read_policy(raw)
        now = self._clock()
        row = PolicyRow(
            id=new_id(PREFIX, now, self._chance),
            account_id=account,
            name=policy.name,
            generation=1,
            rules=policy.to_mapping(),
            create_time_ms=now,
            update_time_ms=now,
        )
        async with self._turn, self._store.begin() as session:
            await self._check_room(session, account)
            await self._check_name(session, account, policy.name, None)
            session.add(row)
            await note(session, row.id)
        return row.id

    async def get(self, account: str, policy_id: str) -> StoredPolicy:
        """The policy of this id."""
        async with self._store.read() as session:
            return self._remembered(await _row(session, account, policy_id))

    async def list(
        self,
        account: str,
        page: PageQuery,
        *,
        policy_id: str | None = None,
        name: str | None = None,
        search: str | None = None,
    ) -> Page[StoredPolicy]:
        """Policies, newest first: of this id, with *name* or *search* within."""
        query = select(PolicyRow).where(PolicyRow.account_id == account)
        if policy_id is not None:
            query = query.where(PolicyRow.id == policy_id)
        if name is not None:
            query = query.where(contains(PolicyRow.name, name))
        if search is not None:
            query = query.where(
                or_(contains(PolicyRow.id, search), contains(PolicyRow.name, search))
            )
        async with self._store.read() as session:
            found = await read_page(session, query, PolicyRow.id, PREFIX, page)
        items = tuple(map(self._remembered, found.items))
        return Page(items, found.has_more, found.total)

    async def update(
        self, account: str, policy_id: str, raw: Mapping[str, object]
    ) -> StoredPolicy:
        """Change a policy, and have the change in force in every running devbox.

        Absent fields and null keep what is there, a value replaces it. Returns when the
        gateway has said so, or has failed to: `rollout` says which.
        """
        given = {key: value for key, value in raw.items() if value is not None}
        async with self._turn, self._store.begin() as session:
            row = await _row(session, account, policy_id, lock=True)
            policy = read_policy({**row.rules, **given})
            if policy.name != row.name:
                await self._check_name(session, account, policy.name, row.id)
            row.name = policy.name
            row.rules = policy.to_mapping()
            row.generation += 1
            row.update_time_ms = max(self._clock(), row.update_time_ms + 1)
            changed = _stored(row)
        await self._rollouts.push(policy_id)
        return changed

    async def delete(self, account: str, policy_id: str) -> StoredPolicy:
        """Delete a policy that nothing uses. Raises `InvalidRequest` if something does."""
        async with self._turn, self._store.begin() as session:
            row = await _row(session, account, policy_id, lock=True)
            using = await attachments(session, policy_id)
            if using:
                raise _in_use(policy_id, using)
            await forget_resource(session, policy_id)
            await session.delete(row)
            return _stored(row)

    async def rollout(self, account: str, policy_id: str) -> Rollout:
        """How far the latest generation is."""
        async with self._store.read() as session:
            row = await _row(session, account, policy_id)
            return Rollout(_stored(row), await attachments(session, policy_id))

    def _remembered(self, row: PolicyRow) -> StoredPolicy:
        """As `_stored`: a generation never changes, and reading one takes long."""
        found = self._read.get(row.id)
        if found is None or found.generation != row.generation:
            if len(self._read) >= _REMEMBERED:
                self._read.clear()
            found = self._read[row.id] = _stored(row)
        return found

    async def _check_room(self, session: AsyncSession, account: str) -> None:
        query = select(func.count()).where(PolicyRow.account_id == account)
        count = (await session.execute(query)).scalar_one()
        if count >= self._rules.limit:
            raise InvalidRequest(
                f"the account has {count} network policies; at most "
                f"{self._rules.limit} are allowed (setting policy_limit)"
            ).coded("network_policy_limit", limit=self._rules.limit)

    async def _check_name(
        self, session: AsyncSession, account: str, name: str, own: str | None
    ) -> None:
        if not self._rules.unique_names:
            return
        query = select(PolicyRow.id).where(
            PolicyRow.account_id == account, PolicyRow.name == name
        )
        for taken in (await session.execute(query)).scalars():
            if taken != own:
                raise Conflict(
                    f"there is a network policy named {name!r}: {taken}"
                ).coded("network_policy_name_taken", id=taken)


async def _row(
    session: AsyncSession, account: str, policy_id: str, *, lock: bool = False
) -> PolicyRow:
    check_id(PREFIX, policy_id)
    query = select(PolicyRow).where(PolicyRow.id == policy_id)
    if lock:
        query = query.with_for_update()
    row = (await session.execute(query)).scalar_one_or_none()
    if row is None or row.account_id != account:
        raise NotFound(f"there is no network policy {policy_id}")
    return row


def _in_use(policy_id: str, using: Sequence[Attachment]) -> InvalidRequest:
    ids = [str(attachment.devbox) for attachment in using]
    listed = ", ".join(ids[:_SHOWN])
    if len(ids) > _SHOWN:
        listed += f" and {len(ids) - _SHOWN} more"
    error = InvalidRequest(f"the network policy {policy_id} is in use by {listed}")
    return error.coded("network_policy_in_use", in_use_by=ids)


def _stored(row: PolicyRow) -> StoredPolicy:
    return StoredPolicy(
        id=row.id,
        policy=NetworkPolicy.from_mapping(row.rules),
        generation=row.generation,
        create_time_ms=row.create_time_ms,
        update_time_ms=row.update_time_ms,
    )
