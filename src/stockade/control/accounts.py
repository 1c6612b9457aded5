"""Accounts and their keys: who may call, and for whom.

A key is 256 bits of chance, so a plain digest of it is enough at rest: there is nothing
to guess. Keys in use are remembered, since every request needs one. A revoked key is
forgotten at once; only this process revokes.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from stockade.control.callers import Access, Caller, Resource
from stockade.control.clock import Clock
from stockade.control.ids import ALPHABET, Chance, new_id
from stockade.control.store.accounts import AccountRow, KeyRow
from stockade.control.store.base import Store
from stockade.errors import (
    Conflict,
    InvalidRequest,
    NotFound,
    Unauthenticated,
    Unavailable,
)

MAX_NAME = 255
_FIRST_ACCOUNT = "default"
_GIVEN_KEY = re.compile(r"ak_[A-Za-z0-9_-]{16,200}", re.ASCII)
_REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class Account:
    """An account."""

    id: str
    name: str
    create_time_ms: int


@dataclass(frozen=True, slots=True)
class Key:
    """What is known of a key. *secret* is there when it has just been made, only."""

    id: str
    name: str
    scopes: Mapping[Resource, Access] | None
    create_time_ms: int
    expires_at_ms: int | None
    secret: str | None = None


class Accounts:
    """Accounts and keys in the database. `start` it before it is asked."""

    def __init__(self, store: Store, clock: Clock, chance: Chance) -> None:
        self._store = store
        self._clock = clock
        self._chance = chance
        self._known: dict[str, tuple[Caller, int | None]] = {}
        self._revocations = 0
        self._first = ""

    async def start(self, given: str | None) -> str | None:
        """Make the first account if there is none; its key, if one was made now.

        *given* is a key to use instead; a later start with another one adds that.
        """
        if given is not None and _GIVEN_KEY.fullmatch(given) is None:
            raise InvalidRequest(
                "STOCKADE_API_KEY: a key is ak_ and 16 to 200 letters and digits"
            )
        async with self._store.begin() as session:
            query = select(AccountRow).order_by(AccountRow.id).limit(1)
            account = (await session.execute(query)).scalar_one_or_none()
            is_new = account is None
            if account is None:
                account = self._account_row(_FIRST_ACCOUNT)
                session.add(account)
                await session.flush()
            self._first = account.id
            if given is not None:
                await self._admit(session, account.id, given)
                return None
            if not is_new:
                return None
            secret = self._secret("ak")
            session.add(self._key_row(account.id, "first key", secret, None, None))
            return secret

    async def authenticate(self, token: str) -> Caller:
        """Who calls with this key. Raises `Unauthenticated`."""
        digest = _digest(token)
        known = self._known.get(digest)
        if known is None:
            known = await self._look_up(digest)
        caller, expires = known
        if expires is not None and expires <= self._clock():
            raise Unauthenticated("the API key has expired").coded("key_expired")
        return caller

    async def check(self) -> None:
        """Raise `Unavailable` unless the database answers."""
        try:
            async with self._store.read() as session:
                await session.execute(select(AccountRow.id).limit(1))
        except (OSError, SQLAlchemyError) as error:
            raise Unavailable(f"the database does not answer: {error}") from None

    async def account(self, account: str) -> Account:
        """The account of this id."""
        async with self._store.read() as session:
            row = await session.get(AccountRow, account)
        if row is None:
            raise NotFound(f"there is no account {account}")
        return _account(row)

    async def accounts(self) -> tuple[Account, ...]:
        """All accounts, oldest first."""
        async with self._store.read() as session:
            rows = await session.execute(select(AccountRow).order_by(AccountRow.id))
            return tuple(_account(row) for row in rows.scalars())

    async def create_account(self, name: str) -> tuple[Account, Key]:
        """A further account, and its first key."""
        _check_name(name)
        secret = self._secret("ak")
        async with self._store.begin() as session:
            query = select(AccountRow.id).where(AccountRow.name == name)
            taken = (await session.execute(query)).scalar_one_or_none()
            if taken is not None:
                raise Conflict(f"there is an account named {name!r}").coded(
                    "account_name_taken", id=taken
                )
            account = self._account_row(name)
            session.add(account)
            await session.flush()
            key = self._key_row(account.id, "first key", secret, None, None)
            session.add(key)
        return _account(account), _key(key, secret)

    async def create_key(
        self,
        account: str,
        *,
        name: str | None,
        expires_at_ms: int | None,
        scopes: Mapping[Resource, Access] | None = None,
    ) -> Key:
        """A further key of an account; with *scopes*, a restricted one."""
        label = name if name is not None else "API key"
        _check_name(label)
        if expires_at_ms is not None and expires_at_ms <= self._clock():
            raise InvalidRequest("expires_at_ms: that is in the past")
        secret = self._secret("ak" if scopes is None else "rk")
        row = self._key_row(account, label, secret, scopes, expires_at_ms)
        async with self._store.begin() as session:
            session.add(row)
        return _key(row, secret)

    async def keys(self, account: str) -> tuple[Key, ...]:
        """The keys of an account, newest first, without their secrets."""
        query = select(KeyRow).where(KeyRow.account_id == account)
        async with self._store.read() as session:
            rows = await session.execute(query.order_by(KeyRow.id.desc()))
            return tuple(_key(row) for row in rows.scalars())

    async def revoke_key(self, account: str, key: str) -> Key:
        """Make a key worthless, at once."""
        async with self._store.begin() as session:
            row = await session.get(KeyRow, key)
            if row is None or row.account_id != account:
                raise NotFound(f"there is no key {key}")
            await session.delete(row)
        # Who has looked it up meanwhile, and not remembered it yet, is not to.
        self._revocations += 1
        self._known.pop(row.digest, None)
        return _key(row)

    async def _look_up(self, digest: str) -> tuple[Caller, int | None]:
        revocations = self._revocations
        async with self._store.read() as session:
            query = select(KeyRow).where(KeyRow.digest == digest)
            row = (await session.execute(query)).scalar_one_or_none()
        if row is None:
            raise Unauthenticated("the API key is not valid").coded("invalid_key")
        is_first = row.account_id == self._first
        caller = Caller(row.account_id, row.id, _scopes(row.scopes), operator=is_first)
        found = (caller, row.expires_at_ms)
        if revocations == self._revocations:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[digest] = found
        return found

    async def _admit(self, session: AsyncSession, account: str, secret: str) -> None:
        query = select(KeyRow).where(KeyRow.digest == _digest(secret))
        row = (await session.execute(query)).scalar_one_or_none()
        if row is None:
            session.add(self._key_row(account, "STOCKADE_API_KEY", secret, None, None))
        elif row.account_id != account:
            raise Conflict("STOCKADE_API_KEY is a key of another account")

    def _account_row(self, name: str) -> AccountRow:
        now = self._clock()
        return AccountRow(
            id=new_id("acc", now, self._chance), name=name, create_time_ms=now
        )

    def _key_row(
        self,
        account: str,
        name: str,
        secret: str,
        scopes: Mapping[Resource, Access] | None,
        expires_at_ms: int | None,
    ) -> KeyRow:
        now = self._clock()
        stored = None
        if scopes is not None:
            stored = {str(resource): int(level) for resource, level in scopes.items()}
        return KeyRow(
            id=new_id("key", now, self._chance),
            account_id=account,
            name=name,
            digest=_digest(secret),
            scopes=stored,
            create_time_ms=now,
            expires_at_ms=expires_at_ms,
        )

    def _secret(self, prefix: str) -> str:
        number = int.from_bytes(self._chance(32), "big")
        digits: list[str] = []
        while len(digits) < 43:  # 43 of 62 characters hold 256 bits
            number, digit = divmod(number, len(ALPHABET))
            digits.append(ALPHABET[digit])
        return f"{prefix}_{''.join(digits)}"


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _check_name(name: str) -> None:
    if not 1 <= len(name) <= MAX_NAME:
        raise InvalidRequest(f"name: a text of 1 to {MAX_NAME} characters is required")


def _scopes(stored: Mapping[str, int] | None) -> Mapping[Resource, Access] | None:
    if stored is None:
        return None
    return {Resource(name): Access(level) for name, level in stored.items()}


def _account(row: AccountRow) -> Account:
    return Account(row.id, row.name, row.create_time_ms)


def _key(row: KeyRow, secret: str | None = None) -> Key:
    return Key(
        id=row.id,
        name=row.name,
        scopes=_scopes(row.scopes),
        create_time_ms=row.create_time_ms,
        expires_at_ms=row.expires_at_ms,
        secret=secret,
    )
