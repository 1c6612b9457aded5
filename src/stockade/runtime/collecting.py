"""Takes away images and layers that nothing uses.

An image is used by whoever holds a lease on it, and by every disk that it is kept for. A
layer is used by every image that has it, and by whoever makes one of it. To be collected,
a thing must be claimed: from then on nobody gets a lease, and whether it is used is looked
at once more. It loses its name by one rename, so that no half of it is ever found.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from stockade.errors import Conflict, NotFound
from stockade.runtime import leases, manifest, overlay
from stockade.runtime.exporting import BASES
from stockade.runtime.images import ImageStore
from stockade.runtime.layers import DESCRIPTION, Layers, size
from stockade.runtime.publishing import abandoned, retire
from stockade.runtime.recipe import Recipe, builder_digest, suite
from stockade.runtime.tags import Tags

# Files of the data directory that name the image a served disk, or a snapshot, lies on.
_NAMING = ("devboxes/*/image", "snapshots/*.image")


@dataclass(frozen=True, slots=True)
class Stored:
    """An image in the store. *size* is in bytes, with the layers it shares.

    *used_by* is empty, or says by what it is used.
    """

    digest: str
    names: tuple[str, ...]
    created: float
    size: int
    layers: int
    used_by: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Freed:
    """What was taken away: the digests of images, how many layers, how many bytes."""

    images: tuple[str, ...] = ()
    layers: int = 0
    size: int = 0


class Collector:
    """Looks after one store."""

    def __init__(self, store: ImageStore) -> None:
        self._store = store
        self._directory = store.directory
        self._layers = Layers(store.directory)
        self._tags = Tags(store.directory)

    def images(self) -> list[Stored]:
        """All images, newest first."""
        named = self._names()
        found = [self._stored(place, named) for place in self._places()]
        return sorted(
            (image for image in found if image is not None),
            key=lambda image: (-image.created, image.digest),
        )

    def remove(self, reference: str) -> Freed:
        """Remove one image. One that is used is a `Conflict`."""
        # Its lease is not ours to keep: it would be in our own way.
        image = self._store.find(reference)
        if image is None:
            raise NotFound(f"there is no image {reference!r}")
        digest, place = image.digest, self._directory / image.digest
        if image.lease is not None:
            image.lease.close()
        freed = self._take_image(place)
        if freed is None:
            used = ", ".join(self._used_by(place)) or "another stockade"
            raise Conflict(f"the image {reference} is used by {used}")
        layers = self._take_layers()
        return Freed((digest,), layers.layers, freed + layers.size)

    def prune(self, *, every: bool = False) -> Freed:
        """Remove what nothing uses: images without a name, layers, interrupted work.

        *every* takes those with a name as well, except those that are built here.
        """
        keep = {Recipe(suite()).digest, builder_digest()}
        named = self._names()
        taken, total = [], 0
        for place in self._places():
            if place.name in keep or (place.name in named and not every):
                continue
            freed = self._take_image(place)
            if freed is not None:
                taken.append(place.name)
                total += freed
        layers = self._take_layers()
        total += layers.size
        bases = self._directory.parent / BASES
        total += sum(
            _deleted(retire(base))
            for base in bases.glob("[!.]*")
            if not (self._directory / base.name).is_dir()
        )
        for directory in (self._directory, self._layers.directory, bases):
            for left in abandoned(directory):
                total += size(left)
                overlay.delete(left)
        self._forget_archives()
        return Freed(tuple(taken), layers.layers, total)

    def _places(self) -> Iterator[Path]:
        for file in self._directory.glob(f"[!.]*/{manifest.FILE}"):
            yield file.parent

    def _names(self) -> dict[str, list[str]]:
        named: dict[str, list[str]] = {}
        for name, digest in self._store.names().items():
            named.setdefault(digest, []).append(name)
        return named

    def _stored(self, place: Path, named: dict[str, list[str]]) -> Stored | None:
        with suppress(FileNotFoundError):  # collected meanwhile
            facts = manifest.read(place)
            bytes_ = facts.get("size")
            return Stored(
                digest=place.name,
                names=tuple(named.get(place.name, ())),
                created=facts["created"],
                # Images of earlier versions do not say.
                size=size(place / "rootfs") if bytes_ is None else bytes_,
                layers=len(facts.get("layers", ("",))),
                used_by=tuple(self._used_by(place)),
            )
        return None

    def _take_image(self, place: Path) -> int | None:
        """Take an image away unless it is used; return how many bytes that freed."""
        with leases.claim(place / manifest.FILE) as claimed:
            if not claimed or any(self._kept_by(place)):
                return None
            old = retire(place)
        for name, digest in self._tags.all().items():
            if digest == place.name:
                self._tags.remove(name, digest)
        return _deleted(old)

    def _take_layers(self) -> Freed:
        """Take away the layers that no image has."""
        count = total = 0
        for file in self._layers.directory.glob(f"[!.]*/{DESCRIPTION}"):
            chain = file.parent.name
            if chain in self._needed():
                continue
            with leases.claim(file) as claimed:
                # Whoever made an image of it held it until the image was there.
                if not claimed or chain in self._needed():
                    continue
                old = retire(file.parent)
            count += 1
            total += _deleted(old)
        return Freed((), count, total)

    def _needed(self) -> set[str]:
        needed: set[str] = set()
        for place in self._places():
            with suppress(FileNotFoundError):
                needed.update(manifest.read(place).get("layers", ()))
        return needed

    def _used_by(self, place: Path) -> Iterator[str]:
        with leases.claim(place / manifest.FILE) as claimed:
            if not claimed:
                yield "what runs now"
        yield from self._kept_by(place)

    def _kept_by(self, place: Path) -> Iterator[str]:
        """Yield what is on the disk and needs the image in *place*."""
        yield from leases.users(place)
        if f"@{place.name}" in self._needed():
            yield "an image that was built on it"
        for pattern in _NAMING:
            for file in self._directory.parent.glob(pattern):
                with suppress(FileNotFoundError):
                    if file.read_text() == place.name:
                        yield str(file.with_suffix(""))

    def _forget_archives(self) -> None:
        for memo in self._directory.glob(".file-*"):
            with suppress(FileNotFoundError):
                if not (self._directory / memo.read_text()).is_dir():
                    memo.unlink()
        self._layers.forget()


def _deleted(old: Path) -> int:
    freed = size(old)
    overlay.delete(old)
    return freed
