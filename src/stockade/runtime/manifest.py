"""What is written beside an image, and how an archive is known again."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stockade.errors import Unavailable
from stockade.runtime.imageconfig import ImageConfig

#: What describes an image, and is locked by who has a use for it.
FILE = "manifest.json"

# 1: an image with a `rootfs` of its own. 2: one of shared layers.
_SCHEMAS = (1, 2)
_NOTHING = ImageConfig()


def write(
    place: Path,
    digest: str,
    name: str,
    *,
    size: int,
    config: ImageConfig = _NOTHING,
    layers: Sequence[str] | None = None,
) -> None:
    """Describe the image in *place*; *layers* are chain ids, lowest first."""
    manifest: dict[str, Any] = {
        "schema": 1 if layers is None else 2,
        "digest": digest,
        "name": name,
        "created": time.time(),
        "env": dict(config.env),
        "workdir": config.workdir,
        "user": config.user,
        "entrypoint": list(config.entrypoint),
        "command": list(config.command),
        "size": size,
    }
    if layers is not None:
        manifest["layers"] = list(layers)
    (place / FILE).write_text(json.dumps(manifest, indent=1) + "\n")


def read(place: Path) -> dict[str, Any]:
    """Read the manifest in *place*; `Unavailable` for one of another version."""
    facts: dict[str, Any] = json.loads((place / FILE).read_bytes())
    if facts["schema"] not in _SCHEMAS:
        raise Unavailable(
            f"{place} was made by another version of stockade: delete it, "
            "and it is made again"
        )
    return facts


def fingerprint(archive: Path) -> str:
    """Name the file that remembers *archive* as it is, without reading it."""
    path = archive / "index.json" if archive.is_dir() else archive
    status = path.stat()
    facts = [str(path.resolve()), status.st_ino, status.st_size, status.st_mtime_ns]
    return f".file-{hashlib.sha256(json.dumps(facts).encode()).hexdigest()}"
