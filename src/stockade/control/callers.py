"""Who calls, and what they may do: values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum

from stockade.errors import PermissionDenied


class Resource(StrEnum):
    """What a restricted key can be given access to."""

    DEVBOXES = "RESOURCE_TYPE_DEVBOXES"
    BLUEPRINTS = "RESOURCE_TYPE_BLUEPRINTS"
    SNAPSHOTS = "RESOURCE_TYPE_SNAPSHOTS"
    OBJECTS = "RESOURCE_TYPE_OBJECTS"
    ACCOUNT = "RESOURCE_TYPE_ACCOUNT"


class Access(IntEnum):
    """How much access; who may write may read."""

    NONE = 0
    READ = 1
    WRITE = 2

    @property
    def wire_name(self) -> str:
        """As the API writes it."""
        return f"ACCESS_LEVEL_{self.name}"


@dataclass(frozen=True, slots=True)
class Caller:
    """The account a request is made for, and the key it was made with.

    *scopes* is None for a key without restrictions; what is not in it is not allowed.
    *operator* marks the account that the first start made: it may make others.
    """

    account: str
    key: str
    scopes: Mapping[Resource, Access] | None = None
    operator: bool = False

    def require(self, resource: Resource, access: Access) -> None:
        """Raise `PermissionDenied` unless the key gives *access* to *resource*."""
        if self.scopes is None or self.scopes.get(resource, Access.NONE) >= access:
            return
        raise PermissionDenied(
            f"this key is restricted: it needs {access.wire_name} to {resource}"
        ).coded(
            "permission_denied", resource_type=resource, access_level=access.wire_name
        )

    def require_operator(self) -> None:
        """Raise `PermissionDenied` unless this is the operator, with a full key."""
        if not self.operator or self.scopes is not None:
            raise PermissionDenied("only a full key of the first account may do this")

    def require_covers(self, scopes: Mapping[Resource, Access] | None) -> None:
        """Raise `PermissionDenied` if *scopes* are more than the caller has."""
        if self.scopes is None:
            return
        for resource in Resource:
            wanted = Access.WRITE
            if scopes is not None:
                wanted = scopes.get(resource, Access.NONE)
            if wanted > Access.NONE:
                self.require(resource, wanted)
