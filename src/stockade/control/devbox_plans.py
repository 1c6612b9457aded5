"""What a request for a devbox asks for, and what is asked of the host for it.

Pure: a request's body, and the defaults of what it starts from, to values.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from stockade.control.launch_parameters import (
    complete,
    mapping,
    read_launch_parameters,
    size_of,
    text,
)
from stockade.control.mounts import Mount, read_mounts
from stockade.errors import InvalidRequest, NotOffered
from stockade.hosting import GIB, BoxAccount, DevboxPlan, SnapshotId
from stockade.spec import DevboxId

MAX_NAME = 255
_MAX_METADATA = 100
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_LATER = {
    "tunnel": "tunnels",
    "gateways": "agent gateways",
    "mcp": "MCP gateways",
}


@dataclass(frozen=True, slots=True)
class DevboxRequest:
    """A request for a devbox, read and checked as far as it can be by itself."""

    name: str | None = None
    blueprint_id: str | None = None
    blueprint_name: str | None = None
    snapshot_id: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    entrypoint: str | None = None
    mounts: tuple[Mount, ...] = ()
    launch: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_body(cls, body: Mapping[str, Any]) -> Self:
        """Read the body of a create request. Raises `InvalidRequest`, `NotOffered`."""
        for name, what in _LATER.items():
            if body.get(name):
                raise NotOffered(f"{name}: this server does not have {what} yet")
        sources = {
            name: text(body[name], name)
            for name in ("blueprint_id", "blueprint_name", "snapshot_id")
            if body.get(name) is not None
        }
        if len(sources) > 1:
            raise InvalidRequest(f"{' and '.join(sources)}: give one of them only")
        entrypoint = body.get("entrypoint")
        return cls(
            name=read_name(body.get("name")),
            environment=_variables(
                body.get("environment_variables"), "environment_variables"
            ),
            secrets=_variables(body.get("secrets"), "secrets"),
            metadata=read_metadata(body.get("metadata")),
            entrypoint=None if entrypoint is None else text(entrypoint, "entrypoint"),
            mounts=read_mounts(body),
            launch=read_launch_parameters(body.get("launch_parameters")),
            **sources,
        )


@dataclass(frozen=True, slots=True)
class Source:
    """What a devbox starts from, with the launch parameters that are its defaults."""

    image: str = "default"
    blueprint_id: str | None = None
    snapshot_id: str | None = None
    launch: Mapping[str, Any] = field(default_factory=dict)


def launch_parameters(
    request: DevboxRequest, source: Source, machine: str, default_policy: str | None
) -> dict[str, Any]:
    """What the devbox is launched with, complete.

    Fields of the request go before those of its source. The policy is that of the
    request, else of the snapshot or blueprint, else the operator's default.
    """
    fields = {**source.launch, **request.launch}
    if "after_idle" in request.launch and "lifecycle" not in request.launch:
        # An inherited rule in the other place would contradict the one asked for.
        inherited = dict(fields.get("lifecycle", {}))
        inherited.pop("after_idle", None)
        fields["lifecycle"] = inherited
    if default_policy is not None:
        fields.setdefault("network_policy_id", default_policy)
    return complete(fields, machine)


def host_plan(
    devbox: str,
    account: str,
    source: Source,
    launch: Mapping[str, Any],
    env: Mapping[str, str],
) -> DevboxPlan:
    """What is asked of the host."""
    cores, memory, disk = size_of(launch)
    snapshot = source.snapshot_id
    return DevboxPlan(
        id=DevboxId(devbox),
        account=account,
        image=source.image,
        snapshot=None if snapshot is None else SnapshotId(snapshot),
        user=user_of(launch),
        env=env,
        cpus=cores,
        memory=memory * GIB,
        disk=disk * GIB,
    )


def user_of(launch: Mapping[str, Any]) -> BoxAccount:
    """The user that commands run as."""
    user = launch.get("user_parameters")
    return BoxAccount() if user is None else BoxAccount(user["username"], user["uid"])


def login_shell(command: str) -> tuple[str, ...]:
    """The arguments that run *command* in a fresh login shell."""
    return ("bash", "-lc", command)


def read_name(raw: object) -> str | None:
    """A name; an empty one is none. Raises `InvalidRequest`."""
    if raw is None:
        return None
    name = text(raw, "name")
    if len(name) > MAX_NAME:
        raise InvalidRequest(f"name: {len(name)} characters, at most {MAX_NAME}")
    return name or None


def read_metadata(raw: object) -> dict[str, str]:
    """Keys and values, both texts. Raises `InvalidRequest`."""
    given = mapping(raw, "metadata")
    if len(given) > _MAX_METADATA:
        raise InvalidRequest(f"metadata: {len(given)} keys, at most {_MAX_METADATA}")
    return {
        text(key, "metadata"): text(value, f"metadata[{key!r}]")
        for key, value in given.items()
    }


def _variables(raw: object, place: str) -> dict[str, str]:
    found = {}
    for name, value in mapping(raw, place).items():
        if _VARIABLE.fullmatch(name) is None:
            raise InvalidRequest(f"{place}: {name[:80]!r} is not a variable's name")
        found[name] = text(value, f"{place}.{name}")
    return found
