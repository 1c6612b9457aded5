"""Secrets: `/v1/secrets`, by name, and `/v1/secrets/id`, by id. Values are not shown."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from stockade.api.auth import needs
from stockade.api.idempotency import Once
from stockade.api.paging import PageView, Paging, page_fields
from stockade.api.routing import router
from stockade.api.services import TheServices
from stockade.control.callers import Access, Caller, Resource
from stockade.control.secrets import Secret

routes = router("secrets")

Reader = Annotated[Caller, needs(Resource.ACCOUNT, Access.READ)]
Writer = Annotated[Caller, needs(Resource.ACCOUNT, Access.WRITE)]


class SecretParams(BaseModel):
    """A secret to keep."""

    name: Annotated[str, Field(min_length=1, max_length=255)]
    value: str


class SecretChanges(BaseModel):
    """Another value for a secret."""

    value: str


class SecretView(BaseModel):
    """A secret, without its value."""

    id: str
    name: str
    create_time_ms: int
    update_time_ms: int


class SecretListView(PageView):
    """Secrets, newest first."""

    secrets: list[SecretView]


@routes.post("/v1/secrets")
async def create_secret(
    params: SecretParams, caller: Writer, services: TheServices, once: Once
) -> SecretView:
    """Keep a secret under a name that is not used."""
    account = caller.account
    secret_id = await once(
        lambda note: services.secrets.create(account, params.name, params.value, note)
    )
    return _view(await services.secrets.get(account, secret_id, by_id=True))


@routes.get("/v1/secrets")
async def list_secrets(
    caller: Reader, services: TheServices, paging: Paging
) -> SecretListView:
    """List secrets."""
    page = await services.secrets.list(caller.account, paging)
    return SecretListView(
        secrets=[_view(item) for item in page.items], **page_fields(page)
    )


@routes.get("/v1/secrets/id/{secret_id}")
async def get_secret_by_id(
    secret_id: str, caller: Reader, services: TheServices
) -> SecretView:
    """A secret."""
    return _view(await services.secrets.get(caller.account, secret_id, by_id=True))


@routes.post("/v1/secrets/id/{secret_id}/update")
async def update_secret_by_id(
    secret_id: str, params: SecretChanges, caller: Writer, services: TheServices
) -> SecretView:
    """Give a secret another value."""
    return _view(
        await services.secrets.update(
            caller.account, secret_id, params.value, by_id=True
        )
    )


@routes.post("/v1/secrets/id/{secret_id}/delete")
async def delete_secret_by_id(
    secret_id: str, caller: Writer, services: TheServices
) -> SecretView:
    """Delete a secret."""
    return _view(await services.secrets.delete(caller.account, secret_id, by_id=True))


@routes.get("/v1/secrets/{name}")
async def get_secret(name: str, caller: Reader, services: TheServices) -> SecretView:
    """A secret, by its name."""
    return _view(await services.secrets.get(caller.account, name, by_id=False))


@routes.post("/v1/secrets/{name}")
async def update_secret(
    name: str, params: SecretChanges, caller: Writer, services: TheServices
) -> SecretView:
    """Give a secret another value."""
    return _view(
        await services.secrets.update(caller.account, name, params.value, by_id=False)
    )


@routes.post("/v1/secrets/{name}/delete")
async def delete_secret(name: str, caller: Writer, services: TheServices) -> SecretView:
    """Delete a secret, by its name."""
    return _view(await services.secrets.delete(caller.account, name, by_id=False))


def _view(secret: Secret) -> SecretView:
    return SecretView(
        id=secret.id,
        name=secret.name,
        create_time_ms=secret.create_time_ms,
        update_time_ms=secret.update_time_ms,
    )
