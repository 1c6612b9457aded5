"""The store of images: content-addressed, read-only, shared by devboxes.

`images/<digest>/` below the data directory holds `rootfs` and `manifest.json`. It appears
by one rename when it is complete; `making` does that.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from stockade.errors import Unavailable
from stockade.runtime import manifest
from stockade.runtime.recipe import Recipe, suite

DEFAULT = "default"

_ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tar.zst")
_HEXADECIMAL = frozenset("0123456789abcdef")
_SHORTEST_DIGEST = 12

Progress = Callable[[float, str], None]


@dataclass(frozen=True, slots=True)
class Image:
    """An image that devboxes can start from.

    *layers* are directories, lowest first. *disks* is where devboxes keep what they
    write: beside the images, since a run directory is often in memory.
    """

    digest: str
    layers: tuple[Path, ...]
    disks: Path | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    workdir: str | None = None
    user: str | None = None


class ImageStore:
    """The images below one data directory."""

    def __init__(self, data_dir: Path) -> None:
        self._directory = data_dir / "images"
        self._disks = data_dir / "disks"

    async def ensure(self, reference: str, progress: Progress | None = None) -> Image:
        """Return the image *reference*, which is made first if need be.

        *reference* is `default`, the path of a root file system's tar, or the name or
        digest of a stored image; others are `NotFound`. *progress* is told a fraction
        and what is being done. Cancelling ends the making and leaves nothing.
        """
        found = self.find(reference)
        if found is not None:
            return found
        loop = asyncio.get_running_loop()
        cancelled = threading.Event()

        def report(fraction: float, text: str) -> None:
            if cancelled.is_set():
                raise Unavailable(f"the making of the image {reference} was cancelled")
            if progress is not None:
                loop.call_soon_threadsafe(progress, fraction, text)

        def make() -> str:
            from stockade.runtime import making  # noqa: PLC0415 - 5 ms of every start

            job = making.Job(self._directory, report, cancelled)
            if reference == DEFAULT:
                return job.make_default()
            if is_path(reference):
                return job.make_from_tar(Path(reference))
            raise making.unknown(reference, list(self.names()))

        # A thread of its own: making changes the mount namespace of the thread.
        with ThreadPoolExecutor(1, "image") as executor:
            work = loop.run_in_executor(executor, make)
            try:
                digest = await asyncio.shield(work)
            except asyncio.CancelledError:
                cancelled.set()
                await asyncio.gather(work, return_exceptions=True)
                raise
        return self._load(digest)

    def find(self, reference: str) -> Image | None:
        """Return a stored image; None if there is none, or it must be made first."""
        digest: str | None
        if reference == DEFAULT:
            digest = Recipe(suite()).digest
        elif is_path(reference):
            digest = self._remembered(Path(reference))
        else:
            digest = self.names().get(reference) or self._by_digest(reference)
        if digest is None or not (self._directory / digest).is_dir():
            return None
        return self._load(digest)

    def names(self) -> dict[str, str]:
        """Return the digests of the stored images by name; the latest has the name."""
        found: dict[str, tuple[float, str]] = {}
        for path in self._directory.glob("[!.]*/manifest.json"):
            with suppress(OSError, ValueError, KeyError):
                facts = json.loads(path.read_bytes())
                entry = (float(facts["created"]), str(facts["digest"]))
                found[facts["name"]] = max(entry, found.get(facts["name"], entry))
        return {name: digest for name, (_, digest) in sorted(found.items())}

    def _remembered(self, archive: Path) -> str | None:
        """Return the digest of an archive that was imported and has not changed."""
        with suppress(OSError):
            return (self._directory / manifest.fingerprint(archive)).read_text()
        return None

    def _by_digest(self, text: str) -> str | None:
        wanted = text.removeprefix("sha256:")
        if len(wanted) < _SHORTEST_DIGEST or not set(wanted) <= _HEXADECIMAL:
            return None
        found = [path.name for path in self._directory.glob(f"{wanted}*")]
        return found[0] if len(found) == 1 else None

    def _load(self, digest: str) -> Image:
        place = self._directory / digest
        facts = manifest.read(place)
        return Image(
            digest=digest,
            layers=(place / "rootfs",),
            disks=self._disks,
            env=facts["env"],
            workdir=facts["workdir"],
            user=facts["user"],
        )


def is_path(reference: str) -> bool:
    """Whether *reference* means a file, by its look."""
    return "/" in reference or reference.endswith(_ENDINGS)
