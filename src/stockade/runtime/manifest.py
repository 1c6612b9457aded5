"""What is written beside an image, and how an archive is known again."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import Any

from stockade.errors import Unavailable

_SCHEMA = 1
_FILE = "manifest.json"


def write(place: Path, digest: str, name: str) -> None:
    manifest = {
        "schema": _SCHEMA,
        "digest": digest,
        "name": name,
        "created": time.time(),
        "env": {},
        "workdir": None,
        "user": None,
    }
    (place / _FILE).write_text(json.dumps(manifest, indent=1) + "\n")


def read(place: Path) -> dict[str, Any]:
    """Read the manifest in *place*; `Unavailable` for one of another version."""
    facts: dict[str, Any] = json.loads((place / _FILE).read_bytes())
    if facts["schema"] != _SCHEMA:
        raise Unavailable(
            f"{place} was made by another version of stockade: delete it, "
            "and it is made again"
        )
    return facts


def fingerprint(archive: Path) -> str:
    """Name the file that remembers *archive* as it is, without reading it."""
    status = archive.stat()
    facts = [str(archive.resolve()), status.st_ino, status.st_size, status.st_mtime_ns]
    return f".file-{hashlib.sha256(json.dumps(facts).encode()).hexdigest()}"
