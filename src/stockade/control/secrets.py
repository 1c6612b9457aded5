"""Secrets of an account: named values that are given to devboxes and never shown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from stockade.control.clock import Clock
from stockade.control.idempotency import Note, forget_resource, no_note
from stockade.control.ids import Chance, check_id, new_id
from stockade.control.sealing import Sealer
from stockade.control.store.base import Store
from stockade.control.store.pages import Page, PageQuery, read_page
from stockade.control.store.secrets import SecretRow
from stockade.errors import InvalidRequest, NotFound

PREFIX: Final = "sec"
MAX_VALUE: Final = 1 << 16
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,255}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Secret:
    """What may be shown of a secret."""

    id: str
    name: str
    create_time_ms: int
    update_time_ms: int


class Secrets:
    """Secrets in the database, encrypted."""

    def __init__(
        self, store: Store, sealer: Sealer, clock: Clock, chance: Chance
    ) -> None:
        self._store = store
        self._sealer = sealer
        self._clock = clock
        self._chance = chance

    async def create(
        self, account: str, name: str, value: str, note: Note = no_note
    ) -> str:
        """Keep a secret under a name that the account does not use; its id."""
        if _NAME.fullmatch(name) is None:
            raise InvalidRequest(
                f"name: {name[:80]!r} is not 1 to 255 of A-Z, a-z, 0-9, _ and -"
            )
        _check_value(value)
        now = self._clock()
        secret_id = new_id(PREFIX, now, self._chance)
        row = SecretRow(
            id=secret_id,
            account_id=account,
            name=name,
            sealed=self._sealer.seal(value, secret_id),
            create_time_ms=now,
            update_time_ms=now,
        )
        try:
            async with self._store.begin() as session:
                session.add(row)
                await session.flush()
                await note(session, secret_id)
        except IntegrityError:
            raise InvalidRequest(f"there is a secret named {name!r}").coded(
                "secret_name_taken"
            ) from None
        return secret_id

    async def get(self, account: str, which: str, *, by_id: bool) -> Secret:
        """The secret of this name or id."""
        async with self._store.read() as session:
            return _secret(await _row(session, account, which, by_id=by_id))

    async def list(self, account: str, page: PageQuery) -> Page[Secret]:
        """Secrets, newest first."""
        query = select(SecretRow).where(SecretRow.account_id == account)
        async with self._store.read() as session:
            found = await read_page(session, query, SecretRow.id, PREFIX, page)
        return Page(tuple(map(_secret, found.items)), found.has_more, found.total)

    async def update(
        self, account: str, which: str, value: str, *, by_id: bool
    ) -> Secret:
        """Give a secret another value. Devboxes that run keep the one they have."""
        _check_value(value)
        async with self._store.begin() as session:
            row = await _row(session, account, which, by_id=by_id)
            row.sealed = self._sealer.seal(value, row.id)
            row.update_time_ms = max(self._clock(), row.update_time_ms + 1)
            return _secret(row)

    async def delete(self, account: str, which: str, *, by_id: bool) -> Secret:
        """Delete a secret. Its name can be used again."""
        async with self._store.begin() as session:
            row = await _row(session, account, which, by_id=by_id)
            await forget_resource(session, row.id)
            await session.delete(row)
            return _secret(row)

    async def values(self, account: str, names: Iterable[str]) -> Mapping[str, str]:
        """The values of the secrets of these names, or ids.

        Raises `InvalidRequest` that names those that are not there.
        """
        wanted = set(names)
        query = select(SecretRow).where(SecretRow.account_id == account)
        query = query.where(SecretRow.name.in_(wanted) | SecretRow.id.in_(wanted))
        async with self._store.read() as session:
            rows = (await session.execute(query)).scalars().all() if wanted else ()
        found = {row.id: row for row in rows}
        # A name may look like an id; then the name goes first.
        found.update({row.name: row for row in rows})
        missing = sorted(wanted - found.keys())
        if missing:
            raise InvalidRequest(f"there is no secret {', '.join(missing)}").coded(
                "unknown_secret", secrets=missing
            )
        return {
            name: self._sealer.unseal(found[name].sealed, found[name].id)
            for name in wanted
        }


async def secret_id(session: AsyncSession, account: str, which: str) -> str:
    """The id of the secret with this name or id. Raises `InvalidRequest`."""
    query = select(SecretRow.id).where(
        SecretRow.account_id == account,
        (SecretRow.name == which) | (SecretRow.id == which),
    )
    # A name may look like an id; then the name goes first, as everywhere.
    found = (await session.execute(query.order_by(SecretRow.name != which))).scalars()
    first = found.first()
    if first is None:
        raise InvalidRequest(f"there is no secret {which[:80]!r}").coded(
            "unknown_secret"
        )
    return first


async def _row(
    session: AsyncSession, account: str, which: str, *, by_id: bool
) -> SecretRow:
    if by_id:
        check_id(PREFIX, which)
    column = SecretRow.id if by_id else SecretRow.name
    query = select(SecretRow).where(SecretRow.account_id == account, column == which)
    row = (await session.execute(query)).scalar_one_or_none()
    if row is None:
        raise NotFound(f"there is no secret {which[:80]!r}")
    return row


def _check_value(value: str) -> None:
    if len(value.encode()) > MAX_VALUE:
        raise InvalidRequest(f"value: at most {MAX_VALUE} bytes are allowed")


def _secret(row: SecretRow) -> Secret:
    return Secret(row.id, row.name, row.create_time_ms, row.update_time_ms)
