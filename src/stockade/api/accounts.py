"""Accounts and keys: `/v1/accounts/me`, `/v1/apikeys`, `/v1/restricted_keys`, and ours."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from stockade.api.auth import AnyCaller, needs
from stockade.api.routing import router
from stockade.api.services import TheServices
from stockade.control.accounts import Account, Key
from stockade.control.callers import Access, Caller, Resource
from stockade.control.ids import check_id

routes = router("accounts")

#: JSON numbers are exact up to here.
MAX_INTEGER = 2**53 - 1

AccountWriter = Annotated[Caller, needs(Resource.ACCOUNT, Access.WRITE)]
AccountReader = Annotated[Caller, needs(Resource.ACCOUNT, Access.READ)]
Name = Annotated[str | None, Field(min_length=1, max_length=255)]
Time = Annotated[int | None, Field(ge=0, le=MAX_INTEGER)]


class BillingView(BaseModel):
    """Nobody is billed here."""

    account_billing_type: Literal["UNRECOGNIZED"] = "UNRECOGNIZED"


class AccountView(BaseModel):
    """An account."""

    id: str
    name: str
    created_at: str
    account_status: Literal["ACCOUNT_STATUS_ENABLED"] = "ACCOUNT_STATUS_ENABLED"
    tier: Literal["ACCOUNT_TIER_ENTERPRISE"] = "ACCOUNT_TIER_ENTERPRISE"
    billing: BillingView = BillingView()


class ScopeView(BaseModel):
    """Access of a restricted key to one kind of resource."""

    resource_type: Resource
    access_level: Literal[
        "ACCESS_LEVEL_NONE", "ACCESS_LEVEL_READ", "ACCESS_LEVEL_WRITE"
    ]


class KeyParams(BaseModel):
    """A key to make."""

    name: Name = None
    expires_at_ms: Time = None


class RestrictedKeyParams(KeyParams):
    """A restricted key to make."""

    scopes: Annotated[list[ScopeView], Field(min_length=1, max_length=20)]


class KeyView(BaseModel):
    """A key, without its secret."""

    id: str
    name: str
    expires_at_ms: int | None
    create_time_ms: int
    scopes: list[ScopeView] | None


class CreatedKeyView(KeyView):
    """A key that has just been made. Its secret is shown this once."""

    key_secret: str


class KeyListView(BaseModel):
    """Keys of an account."""

    keys: list[KeyView]


class AccountParams(BaseModel):
    """An account to make."""

    name: Annotated[str, Field(min_length=1, max_length=255)]


class CreatedAccountView(BaseModel):
    """An account that has just been made, and its first key."""

    account: AccountView
    key: CreatedKeyView


class AccountListView(BaseModel):
    """All accounts."""

    accounts: list[AccountView]


@routes.get("/v1/accounts/me")
async def get_my_account(caller: AnyCaller, services: TheServices) -> AccountView:
    """The account of the key."""
    return _account_view(await services.accounts.account(caller.account))


@routes.post("/v1/apikeys")
async def create_key(
    params: KeyParams, caller: AccountWriter, services: TheServices
) -> CreatedKeyView:
    """A further key of the account. A restricted key cannot make an unrestricted one."""
    caller.require_covers(None)
    key = await services.accounts.create_key(
        caller.account, name=params.name, expires_at_ms=params.expires_at_ms
    )
    return _created(key)


@routes.post("/v1/restricted_keys")
async def create_restricted_key(
    params: RestrictedKeyParams, caller: AccountWriter, services: TheServices
) -> CreatedKeyView:
    """A further key, for parts of the API. It cannot do more than the caller's own."""
    scopes = _scopes(params.scopes)
    caller.require_covers(scopes)
    key = await services.accounts.create_key(
        caller.account,
        name=params.name,
        expires_at_ms=params.expires_at_ms,
        scopes=scopes,
    )
    return _created(key)


@routes.get("/v1/stockade/keys")
async def list_keys(caller: AccountReader, services: TheServices) -> KeyListView:
    """The keys of the account, newest first."""
    keys = await services.accounts.keys(caller.account)
    return KeyListView(keys=[KeyView(**_key_fields(key)) for key in keys])


@routes.post("/v1/stockade/keys/{key_id}/revoke")
async def revoke_key(
    key_id: str, caller: AccountWriter, services: TheServices
) -> KeyView:
    """Make a key worthless, at once."""
    check_id("key", key_id)
    key = await services.accounts.revoke_key(caller.account, key_id)
    return KeyView(**_key_fields(key))


@routes.get("/v1/stockade/accounts")
async def list_accounts(caller: AnyCaller, services: TheServices) -> AccountListView:
    """All accounts. For the first account only."""
    caller.require_operator()
    found = await services.accounts.accounts()
    return AccountListView(accounts=[_account_view(account) for account in found])


@routes.post("/v1/stockade/accounts")
async def create_account(
    params: AccountParams, caller: AnyCaller, services: TheServices
) -> CreatedAccountView:
    """A further account with its first key. For the first account only."""
    caller.require_operator()
    account, key = await services.accounts.create_account(params.name)
    return CreatedAccountView(account=_account_view(account), key=_created(key))


def _account_view(account: Account) -> AccountView:
    created = datetime.fromtimestamp(account.create_time_ms / 1000, UTC)
    return AccountView(id=account.id, name=account.name, created_at=created.isoformat())


def _scopes(entries: list[ScopeView]) -> Mapping[Resource, Access]:
    levels = {level.wire_name: level for level in Access}
    return {entry.resource_type: levels[entry.access_level] for entry in entries}


def _created(key: Key) -> CreatedKeyView:
    return CreatedKeyView(key_secret=key.secret or "", **_key_fields(key))


def _key_fields(key: Key) -> dict[str, Any]:
    scopes = None
    if key.scopes is not None:
        scopes = [
            ScopeView.model_validate(
                {"resource_type": resource, "access_level": level.wire_name}
            )
            for resource, level in key.scopes.items()
        ]
    return {
        "id": key.id,
        "name": key.name,
        "expires_at_ms": key.expires_at_ms,
        "create_time_ms": key.create_time_ms,
        "scopes": scopes,
    }
