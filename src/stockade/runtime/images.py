"""The store of images: content-addressed, read-only, shared by devboxes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Image:
    """An image that devboxes can start from. *layers* are directories, lowest first."""

    digest: str
    layers: tuple[Path, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    workdir: str | None = None
    user: str | None = None
