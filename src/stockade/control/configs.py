"""Gateway configs and MCP configs: how devboxes reach services with credentials.

The two differ in the prefix of their ids and in the tools that an MCP config allows, so
they are one service, made once for each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from stockade.control.clock import Clock
from stockade.control.idempotency import Note, forget_resource, no_note
from stockade.control.ids import Chance, check_id, new_id
from stockade.control.secrets import secret_id
from stockade.control.store.base import Store
from stockade.control.store.configs import ConfigRow
from stockade.control.store.pages import Page, PageQuery, contains, read_page
from stockade.control.upstreams import (
    AuthKind,
    AuthMechanism,
    CustomHeader,
    check_endpoint,
    check_headers,
    check_tools,
)
from stockade.errors import InvalidRequest, NotFound, PermissionDenied


class ConfigKind(StrEnum):
    """Which kind of config; the prefix of its ids."""

    GATEWAY = "gwc"
    MCP = "mcp"


_BEARER: Final = AuthMechanism(AuthKind.BEARER)


@dataclass(frozen=True, slots=True)
class ConfigFields:
    """What a client says of a config."""

    name: str
    endpoint: str
    auth: AuthMechanism = _BEARER
    headers: tuple[CustomHeader, ...] = ()
    allowed_tools: tuple[str, ...] = ()
    description: str | None = None

    def check(self, kind: ConfigKind) -> None:
        """Raise `InvalidRequest` for what cannot work."""
        if not 1 <= len(self.name) <= 255:
            raise InvalidRequest("name: a text of 1 to 255 characters is required")
        check_endpoint(self.endpoint)
        check_headers(self.headers)
        if kind is ConfigKind.MCP:
            check_tools(self.allowed_tools)


@dataclass(frozen=True, slots=True)
class Config:
    """A config; without an account, one that all accounts have and none can change."""

    id: str
    account: str | None
    fields: ConfigFields
    create_time_ms: int


#: The configs that every account has: ids, and what they say.
_SYSTEM: Final = (
    (
        "gwc_000000000000000000001",
        ConfigFields(
            "anthropic",
            "https://api.anthropic.com",
            AuthMechanism(AuthKind.HEADER, "x-api-key"),
        ),
    ),
    ("gwc_000000000000000000002", ConfigFields("openai", "https://api.openai.com")),
)


class Configs:
    """Configs of one kind in the database. `start` it before it is asked."""

    def __init__(
        self, store: Store, kind: ConfigKind, clock: Clock, chance: Chance
    ) -> None:
        self._store = store
        self._kind = kind
        self._clock = clock
        self._chance = chance

    async def start(self) -> None:
        """Make those that every account has."""
        if self._kind is not ConfigKind.GATEWAY:
            return
        async with self._store.begin() as session:
            for config_id, fields in _SYSTEM:
                if await session.get(ConfigRow, config_id) is None:
                    session.add(self._row(config_id, None, fields, 0))

    async def create(
        self, account: str, fields: ConfigFields, note: Note = no_note
    ) -> str:
        """Keep a config; its id."""
        fields.check(self._kind)
        now = self._clock()
        config_id = new_id(self._kind, now, self._chance)
        async with self._store.begin() as session:
            fields = await _with_secret_ids(session, account, fields)
            session.add(self._row(config_id, account, fields, now))
            await session.flush()
            await note(session, config_id)
        return config_id

    async def get(self, account: str, config_id: str) -> Config:
        """The config of this id."""
        async with self._store.read() as session:
            return _config(await self._find(session, account, config_id))

    async def list(
        self,
        account: str,
        page: PageQuery,
        *,
        config_id: str | None = None,
        name: str | None = None,
        search: str | None = None,
    ) -> Page[Config]:
        """Configs, newest first; those that every account has are the oldest."""
        query = select(ConfigRow).where(
            ConfigRow.kind == self._kind,
            or_(ConfigRow.account_id == account, ConfigRow.account_id.is_(None)),
        )
        if config_id is not None:
            query = query.where(ConfigRow.id == config_id)
        if name is not None:
            query = query.where(contains(ConfigRow.name, name))
        if search is not None:
            query = query.where(
                or_(contains(ConfigRow.id, search), contains(ConfigRow.name, search))
            )
        async with self._store.read() as session:
            found = await read_page(session, query, ConfigRow.id, self._kind, page)
        return Page(tuple(map(_config, found.items)), found.has_more, found.total)

    async def update(
        self, account: str, config_id: str, changes: Mapping[str, Any]
    ) -> Config:
        """Change some of the fields, named as in `ConfigFields`."""
        async with self._store.begin() as session:
            row = await self._find(session, account, config_id)
            _check_own(row)
            fields = replace(_config(row).fields, **changes)
            fields.check(self._kind)
            fields = await _with_secret_ids(session, account, fields)
            for column, value in _columns(fields).items():
                setattr(row, column, value)
            return _config(row)

    async def delete(self, account: str, config_id: str) -> Config:
        """Delete a config."""
        async with self._store.begin() as session:
            row = await self._find(session, account, config_id)
            _check_own(row)
            await forget_resource(session, row.id)
            await session.delete(row)
            return _config(row)

    async def _find(
        self, session: AsyncSession, account: str, config_id: str
    ) -> ConfigRow:
        check_id(self._kind, config_id)
        row = await session.get(ConfigRow, config_id)
        if row is None or row.account_id not in (account, None):
            raise NotFound(f"there is no config {config_id}")
        return row

    def _row(
        self, config_id: str, account: str | None, fields: ConfigFields, now: int
    ) -> ConfigRow:
        return ConfigRow(
            id=config_id,
            account_id=account,
            kind=str(self._kind),
            create_time_ms=now,
            **_columns(fields),
        )


def _check_own(row: ConfigRow) -> None:
    if row.account_id is None:
        raise PermissionDenied(f"{row.name} is a config of the system; make your own")


async def _with_secret_ids(
    session: AsyncSession, account: str, fields: ConfigFields
) -> ConfigFields:
    """Headers name secrets by their ids: a name can come to mean another secret."""
    headers = []
    for header in fields.headers:
        if header.secret is None:
            headers.append(header)
            continue
        found = await secret_id(session, account, header.secret)
        headers.append(replace(header, secret=found))
    return replace(fields, headers=tuple(headers))


def _columns(fields: ConfigFields) -> dict[str, Any]:
    return {
        "name": fields.name,
        "endpoint": fields.endpoint,
        "auth": {"kind": str(fields.auth.kind), "key": fields.auth.key},
        "headers": [asdict(header) for header in fields.headers],
        "allowed_tools": list(fields.allowed_tools),
        "description": fields.description,
    }


def _config(row: ConfigRow) -> Config:
    fields = ConfigFields(
        name=row.name,
        endpoint=row.endpoint,
        auth=AuthMechanism(AuthKind(row.auth["kind"]), row.auth["key"]),
        headers=tuple(CustomHeader(**header) for header in row.headers),
        allowed_tools=tuple(row.allowed_tools),
        description=row.description,
    )
    return Config(row.id, row.account_id, fields, row.create_time_ms)
