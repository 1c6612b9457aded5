"""What is put into a devbox before anything runs in it: values, and their reading."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stockade.control.launch_parameters import mapping, text
from stockade.errors import InvalidRequest, NotOffered

_MAX_MOUNTS = 1_000
_REPO_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}", re.ASCII)


@dataclass(frozen=True, slots=True)
class FileMount:
    """A file with this content."""

    target: str
    content: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class ObjectMount:
    """A stored object: a file at *path*, or an archive unpacked into it."""

    object_id: str
    path: str


@dataclass(frozen=True, slots=True)
class CodeMount:
    """A repository, cloned inside the devbox, under its network policy."""

    owner: str
    name: str
    ref: str | None = None
    install: str | None = None
    token: str | None = field(default=None, repr=False)

    def script(self) -> str:
        """The commands that clone it into the home directory.

        The token is read from the environment: an argument could be seen by all.
        """
        url = f"https://github.com/{self.owner}/{self.name}.git"
        lines = ["set -e", 'cd "$HOME"']
        clone = f"git clone {shlex.quote(url)} {shlex.quote(self.name)}"
        if self.token:
            clone = f"git -c credential.helper={shlex.quote(_HELPER)} {clone[4:]}"
        lines += [clone, f"cd {shlex.quote(self.name)}"]
        if self.ref:
            lines.append(f"git checkout {shlex.quote(self.ref)} --")
        lines.append("unset STOCKADE_GIT_TOKEN")
        if self.install:
            lines.append(self.install)
        return "\n".join(lines)


_HELPER = (
    '!f() { echo username=x-access-token; echo "password=$STOCKADE_GIT_TOKEN"; }; f'
)

Mount = FileMount | ObjectMount | CodeMount


def read_mounts(body: Mapping[str, Any]) -> tuple[Mount, ...]:
    """All mounts of a request, also those in its older fields."""
    found: list[Mount] = [
        FileMount(_target(path, "file_mounts"), text(content, f"file_mounts[{path!r}]"))
        for path, content in mapping(body.get("file_mounts"), "file_mounts").items()
    ]
    for index, raw in enumerate(_list(body.get("code_mounts"), "code_mounts")):
        found.append(_code(raw, f"code_mounts[{index}]"))
    for index, raw in enumerate(_list(body.get("mounts"), "mounts")):
        found.append(_mount(raw, f"mounts[{index}]"))
    if len(found) > _MAX_MOUNTS:
        raise InvalidRequest(
            f"mounts: {len(found)}, at most {_MAX_MOUNTS} are possible"
        )
    return tuple(found)


def _list(raw: object, place: str) -> Sequence[object]:
    if raw is None:
        return ()
    if not isinstance(raw, list):
        raise InvalidRequest(f"{place}: a list is required")
    return raw


def _mount(raw: object, place: str) -> Mount:
    given = mapping(raw, place)
    match given.get("type"):
        case "file_mount":
            content = text(given.get("content"), f"{place}.content")
            return FileMount(_target(given.get("target"), f"{place}.target"), content)
        case "object_mount":
            return ObjectMount(
                text(given.get("object_id"), f"{place}.object_id"),
                _target(given.get("object_path"), f"{place}.object_path"),
            )
        case "code_mount":
            return _code(given, place)
        case "broker_mount":
            raise NotOffered(f"{place}: this server has no event streams to mount")
        case other:
            raise InvalidRequest(
                f"{place}.type: {other!r} is not one of object_mount, code_mount, "
                "file_mount"
            )


def _code(raw: object, place: str) -> CodeMount:
    given = mapping(raw, place)
    owner = _repo_part(given.get("repo_owner"), f"{place}.repo_owner")
    name = _repo_part(given.get("repo_name"), f"{place}.repo_name")
    ref = _optional(given, "git_ref", place)
    if ref is not None and ref.startswith("-"):
        raise InvalidRequest(f"{place}.git_ref: {ref!r} is not the name of a commit")
    return CodeMount(
        owner,
        name,
        ref,
        _optional(given, "install_command", place),
        _optional(given, "token", place),
    )


def _repo_part(raw: object, place: str) -> str:
    name = text(raw, place)
    if _REPO_PART.fullmatch(name) is None:
        raise InvalidRequest(f"{place}: {name[:80]!r} is not a name of that kind")
    return name


def _optional(given: Mapping[str, Any], name: str, place: str) -> str | None:
    value = given.get(name)
    return None if value is None else text(value, f"{place}.{name}") or None


def _target(raw: object, place: str) -> str:
    path = text(raw, place)
    if not path.strip("/"):
        raise InvalidRequest(f"{place}: the path of a file is required")
    return path
