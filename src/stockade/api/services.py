"""The services that routes call, handed to them with each request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends
from starlette.requests import Request

from stockade.control.accounts import Accounts
from stockade.control.configs import Configs
from stockade.control.idempotency import Idempotency
from stockade.control.objects import Objects
from stockade.control.plane import DevboxPlane
from stockade.control.policies import Policies
from stockade.control.secrets import Secrets


@dataclass(frozen=True, slots=True)
class Services:
    """All services of the control plane. Whoever makes them starts and stops them."""

    accounts: Accounts
    idempotency: Idempotency
    policies: Policies
    secrets: Secrets
    objects: Objects
    gateway_configs: Configs
    mcp_configs: Configs
    plane: DevboxPlane


def services_of(request: Request) -> Services:
    """The services of the application that serves *request*."""
    found = request.app.state.services
    assert isinstance(found, Services)  # noqa: S101 - `create_app` put it there
    return found


async def _services(request: Request) -> Services:
    return services_of(request)


#: The services, as a parameter of a route function.
TheServices = Annotated[Services, Depends(_services)]
