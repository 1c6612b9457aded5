"""What the tests of the image store share."""

from __future__ import annotations

import asyncio
from pathlib import Path

from stockade.runtime.images import Image, ImageStore


def bring(
    store: ImageStore, path: Path, *, name: str | None = None, pick: str | None = None
) -> Image:
    """Import *path*."""
    return asyncio.run(store.import_archive(path, name=name, pick=pick))
