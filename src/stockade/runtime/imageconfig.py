"""What an image says of how it is to be run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from stockade.errors import InvalidRequest

_MAX_TEXT = 128 << 10


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """The environment, user, directory and command of an image."""

    env: Mapping[str, str] = field(default_factory=dict)
    workdir: str | None = None
    user: str | None = None
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()


def read_config(document: Mapping[str, Any]) -> ImageConfig:
    """Read the configuration of an OCI or Docker image. Raises `InvalidRequest`."""
    config = document.get("config")
    if config is None:
        return ImageConfig()
    if not isinstance(config, dict):
        raise InvalidRequest("the image's configuration is not an object")
    return ImageConfig(
        env=_environment(_texts(config, "Env")),
        workdir=_text(config, "WorkingDir"),
        user=_text(config, "User"),
        entrypoint=_texts(config, "Entrypoint"),
        command=_texts(config, "Cmd"),
    )


def _environment(lines: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for line in lines:
        name, equals, value = line.partition("=")
        if not name or not equals:
            raise InvalidRequest(f"the image's environment has {line[:100]!r}")
        found[name] = value
    return found


def _texts(config: Mapping[str, Any], key: str) -> tuple[str, ...]:
    value = config.get(key) or []
    if not isinstance(value, list):
        raise InvalidRequest(f"{key} of the image's configuration is not a list")
    return tuple(_checked(text, key) for text in value)


def _text(config: Mapping[str, Any], key: str) -> str | None:
    value = config.get(key)
    return _checked(value, key) if value else None


def _checked(value: object, key: str) -> str:
    if not isinstance(value, str) or "\0" in value or len(value) > _MAX_TEXT:
        raise InvalidRequest(f"{key} of the image's configuration is not a text")
    return value
