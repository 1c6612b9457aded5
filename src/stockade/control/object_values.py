"""Storage objects as values: states, what is asked for, permits in signed URLs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class ObjectState(StrEnum):
    """Where an object is in its life."""

    UPLOADING = "UPLOADING"
    READ_ONLY = "READ_ONLY"
    DELETED = "DELETED"
    ERROR = "ERROR"


class Deed(StrEnum):
    """What a signed URL is for: the method it is used with."""

    UPLOAD = "PUT"
    DOWNLOAD = "GET"


@dataclass(frozen=True, slots=True)
class StoredObject:
    """A storage object without its content."""

    id: str
    name: str
    content_type: str
    state: ObjectState
    labels: Mapping[str, str]
    size_bytes: int | None
    create_time_ms: int
    delete_after_ms: int | None


@dataclass(frozen=True, slots=True)
class ObjectRequest:
    """An object to make."""

    name: str
    content_type: str
    labels: Mapping[str, str]
    ttl_ms: int | None


@dataclass(frozen=True, slots=True)
class ObjectFilter:
    """Which objects a list shows; those that are deleted only if *state* says so."""

    name: str | None = None
    search: str | None = None
    state: ObjectState | None = None
    content_type: str | None = None


@dataclass(frozen=True, slots=True)
class Permit:
    """What stands in a signed URL."""

    expires_ms: int
    signature: str
