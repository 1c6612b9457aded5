"""Shapes that gateway configs and MCP configs share."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, Field

from stockade.control.configs import Config
from stockade.control.upstreams import AuthKind, AuthMechanism, CustomHeader

Text = Annotated[str, Field(min_length=1, max_length=255)]
Url = Annotated[str, Field(min_length=1, max_length=4096)]
Description = Annotated[str | None, Field(max_length=10_000)]


class AuthShape(BaseModel):
    """How a credential is put on a request; *key* goes with `header`."""

    type: AuthKind
    key: str | None = None


class HeaderShape(BaseModel):
    """A header that is added: a value, or a secret by its name or id."""

    name: str
    secret: str | None = None
    value: str | None = None


Headers = Annotated[list[HeaderShape] | None, Field(max_length=100)]


class ConfigChanges(BaseModel):
    """Fields of a config; absent and null are the same."""

    name: Text | None = None
    endpoint: Url | None = None
    auth_mechanism: AuthShape | None = None
    custom_headers: Headers = None
    description: Description = None

    def fields(self) -> dict[str, Any]:
        """Those that are given, as values and by the names of `ConfigFields`."""
        given: dict[str, Any] = {
            "name": self.name,
            "endpoint": self.endpoint,
            "description": self.description,
        }
        if self.auth_mechanism is not None:
            auth = self.auth_mechanism
            given["auth"] = AuthMechanism(auth.type, auth.key)
        if self.custom_headers is not None:
            given["headers"] = tuple(
                CustomHeader(header.name, header.secret, header.value)
                for header in self.custom_headers
            )
        return {key: value for key, value in given.items() if value is not None}


def shared_view(config: Config) -> dict[str, Any]:
    """The fields that the views of both kinds have."""
    fields = config.fields
    return {
        "id": config.id,
        "name": fields.name,
        "endpoint": fields.endpoint,
        "auth_mechanism": {"type": fields.auth.kind, "key": fields.auth.key},
        "custom_headers": [
            {"name": header.name, "secret": header.secret, "value": header.value}
            for header in fields.headers
        ],
        "description": fields.description,
        "create_time_ms": config.create_time_ms,
    }
