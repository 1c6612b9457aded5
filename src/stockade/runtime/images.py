"""The store of images: content-addressed, read-only, shared by devboxes.

`images/<digest>/` below the data directory holds `manifest.json`, and `rootfs` unless the
image is made of shared layers. It appears by one rename when it is complete; `making` does
that, `collecting` takes away what nothing uses.
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
from stockade.runtime import leases, manifest
from stockade.runtime.layers import Layers
from stockade.runtime.leases import Lease
from stockade.runtime.recipe import Recipe, builder_digest, suite
from stockade.runtime.tags import BUILDER, DEFAULT, Tags

_ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tar.zst")
_HEXADECIMAL = frozenset("0123456789abcdef")
_SHORTEST_DIGEST = 12

Progress = Callable[[float, str], None]


@dataclass(frozen=True, slots=True)
class Image:
    """An image that devboxes can start from.

    *layers* are directories, lowest first. *disks* is where devboxes keep what they
    write: beside the images, since a run directory is often in memory. *place* is where
    what is made from the image is kept. As long as a value with a *lease* exists, the
    image is not collected.
    """

    digest: str
    layers: tuple[Path, ...]
    disks: Path | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    workdir: str | None = None
    user: str | None = None
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    place: Path | None = None
    lease: Lease | None = field(default=None, compare=False, repr=False)


class ImageStore:
    """The images below one data directory."""

    def __init__(self, data_dir: Path) -> None:
        #: Where the images are.
        self.directory = data_dir / "images"
        self._disks = data_dir / "disks"
        self._tags = Tags(self.directory)
        self._layers = Layers(self.directory)

    async def ensure(self, reference: str, progress: Progress | None = None) -> Image:
        """Return the image *reference*, which is made first if need be.

        *reference* is `default` or `builder`, the path of an image or of a root file
        system's tar, or the name or digest of a stored image; others are `NotFound`.
        *progress* is told a fraction and what is being done. Cancelling ends the making
        and leaves nothing.
        """
        found = self.find(reference)
        if found is not None:
            return found
        return await self._made(reference, None, None, progress)

    async def import_archive(
        self,
        archive: Path,
        *,
        name: str | None = None,
        pick: str | None = None,
        progress: Progress | None = None,
    ) -> Image:
        """Import an OCI layout, a docker archive or the tar of a root file system.

        *name* is what it is called then, if not as the archive says; *pick* is the one to
        take of several. Raises `InvalidRequest` for what is none of them, or not whole.
        """
        path = str(archive) if is_path(str(archive)) else f"./{archive}"
        return await self._made(path, name, pick, progress)

    async def _made(
        self, reference: str, name: str | None, pick: str | None, told: Progress | None
    ) -> Image:
        loop = asyncio.get_running_loop()
        cancelled = threading.Event()

        def report(fraction: float, text: str) -> None:
            if cancelled.is_set():
                raise Unavailable(f"the making of the image {reference} was cancelled")
            if told is not None:
                loop.call_soon_threadsafe(told, fraction, text)

        def make() -> Image:
            from stockade.runtime import making  # noqa: PLC0415 - 5 ms of every start

            job = making.Job(self.directory, report, cancelled)
            while True:
                if reference == DEFAULT:
                    digest = job.make_default()
                elif reference == BUILDER:
                    digest = job.make_builder()
                elif is_path(reference):
                    digest = job.import_archive(Path(reference), name, pick)
                else:
                    raise making.unknown(reference, list(self.names()))
                made = self._load(digest)
                if made is not None:  # else it was collected at once, and is made again
                    return made

        # A thread of its own: making changes the mount namespace of the thread.
        with ThreadPoolExecutor(1, "image") as executor:
            work = loop.run_in_executor(executor, make)
            try:
                return await asyncio.shield(work)
            except asyncio.CancelledError:
                cancelled.set()
                await asyncio.gather(work, return_exceptions=True)
                raise

    def find(self, reference: str) -> Image | None:
        """Return a stored image; None if there is none, or it must be made first."""
        digest: str | None
        if reference == DEFAULT:
            digest = Recipe(suite()).digest
        elif reference == BUILDER:
            digest = builder_digest()
        else:
            digest = self._tags.get(reference)
            if digest is None and is_path(reference):
                digest = self._remembered(Path(reference))
            elif digest is None:
                digest = self.names().get(reference) or self._by_digest(reference)
        return None if digest is None else self._load(digest)

    def names(self) -> dict[str, str]:
        """Return the digests of the stored images by name; the latest has the name."""
        found: dict[str, tuple[float, str]] = {}
        stored = set()
        for path in self.directory.glob(f"[!.]*/{manifest.FILE}"):
            with suppress(OSError, ValueError, KeyError):
                facts = json.loads(path.read_bytes())
                entry = (float(facts["created"]), str(facts["digest"]))
                stored.add(entry[1])
                found[facts["name"]] = max(entry, found.get(facts["name"], entry))
        names = {name: digest for name, (_, digest) in found.items()}
        tagged = self._tags.all().items()
        names |= {name: digest for name, digest in tagged if digest in stored}
        return dict(sorted(names.items()))

    def _remembered(self, archive: Path) -> str | None:
        """Return the digest of an archive that was imported and has not changed."""
        with suppress(OSError):
            return (self.directory / manifest.fingerprint(archive)).read_text()
        return None

    def _by_digest(self, text: str) -> str | None:
        wanted = text.removeprefix("sha256:")
        if len(wanted) < _SHORTEST_DIGEST or not set(wanted) <= _HEXADECIMAL:
            return None
        found = [path.name for path in self.directory.glob(f"{wanted}*")]
        return found[0] if len(found) == 1 else None

    def _load(self, digest: str) -> Image | None:
        place = self.directory / digest
        lease = leases.hold(place / manifest.FILE)
        if lease is None:
            return None
        facts = manifest.read(place)
        chains = facts.get("layers")
        if chains is None:
            layers: tuple[Path, ...] = (place / "rootfs",)
        else:
            layers = tuple(map(self._layers.root, chains))
        return Image(
            digest=digest,
            layers=layers,
            disks=self._disks,
            env=facts["env"],
            workdir=facts["workdir"],
            user=facts["user"],
            entrypoint=tuple(facts.get("entrypoint", ())),
            command=tuple(facts.get("command", ())),
            place=place,
            lease=lease,
        )


def is_path(reference: str) -> bool:
    """Whether *reference* means a file, by its look."""
    return "/" in reference or reference.endswith(_ENDINGS)
