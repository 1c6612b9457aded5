"""Names of images: `images/tags/<name>` holds a digest."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote, unquote

from stockade.errors import InvalidRequest

#: The images that are built here: what devboxes start from, and what builds others.
DEFAULT, BUILDER = "default", "builder"

_OURS = (DEFAULT, BUILDER)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,199}")
_LIKE_A_DIGEST = re.compile(r"(sha256:)?[0-9a-f]{12,64}")


class Tags:
    """The names in one store, each of one image; a later one takes the name over."""

    def __init__(self, images: Path) -> None:
        self._directory = images / "tags"

    def get(self, name: str) -> str | None:
        """Return the digest that has *name*."""
        if not _NAME.fullmatch(name):
            return None
        with suppress(FileNotFoundError):
            return self._path(name).read_text()
        return None

    def all(self) -> dict[str, str]:
        """Return all digests by name."""
        found = {}
        with suppress(FileNotFoundError):
            for path in self._directory.iterdir():
                with suppress(FileNotFoundError):
                    if not path.name.startswith("."):
                        found[unquote(path.name)] = path.read_text()
        return found

    def set(self, name: str, digest: str) -> None:
        """Give *name* to an image."""
        self._directory.mkdir(mode=0o700, exist_ok=True)
        scratch = self._directory / f".{os.urandom(8).hex()}"
        scratch.write_text(digest)
        scratch.replace(self._path(name))

    def remove(self, name: str, digest: str) -> None:
        """Take *name* away, if it is still that image's."""
        if self.get(name) == digest:
            self._path(name).unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        return self._directory / quote(name, safe="")


def check_name(name: str) -> str:
    """Return *name* if an image can be called so. Raises `InvalidRequest`."""
    if not _NAME.fullmatch(name) or _LIKE_A_DIGEST.fullmatch(name) or name in _OURS:
        raise InvalidRequest(
            f"an image cannot be called {name!r}: give letters, digits and . _ : / @ + -, "
            f"not a digest, and none of {', '.join(_OURS)}"
        )
    return name
