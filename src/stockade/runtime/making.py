"""Makes images: builds the default one, imports those that come as archives.

The store is closed to other users of the machine: images hold set-user-id programs, and
on disk their owners are those of the machine.
"""

from __future__ import annotations

import contextlib
import re
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

from stockade.errors import InvalidRequest, NotFound
from stockade.runtime import manifest
from stockade.runtime.archivefiles import DirectoryFiles, Files, TarFiles
from stockade.runtime.archives import PackedLayer, is_image, read_image
from stockade.runtime.build import ImageBuild
from stockade.runtime.layers import ROOT, Layer, Layers, chain_of, size
from stockade.runtime.publishing import FULL, Publisher, Report, full, room
from stockade.runtime.recipe import Recipe, builder_recipe, local_recipe
from stockade.runtime.streams import NOT_A_TAR, Hashed, is_compressed, opened_tar, plain
from stockade.runtime.tags import BUILDER, DEFAULT, Tags, check_name
from stockade.runtime.tree import Tree
from stockade.runtime.unpack import Unpacking, check_root

_PIECE = 1 << 22
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._+-]+")


class Job:
    """The making of one image in a thread of its own.

    *report* is told a fraction and a text, and raises when the job is to end;
    *cancelled* says the same to what cannot be interrupted by that.
    """

    def __init__(
        self, directory: Path, report: Report, cancelled: threading.Event
    ) -> None:
        self._directory = directory
        self._report = report
        self._cancelled = cancelled
        self._layers = Layers(directory)
        self._publisher = Publisher(directory, report)

    def make_default(self) -> str:
        """Build the default image unless it is there; return its digest."""
        return self._bootstrap(local_recipe(), DEFAULT)

    def make_builder(self) -> str:
        """Build the image that builds others, likewise."""
        return self._bootstrap(builder_recipe(), BUILDER)

    def _bootstrap(self, recipe: Recipe, name: str) -> str:
        def build(place: Path) -> None:
            root = ImageBuild(recipe, place, self._report, self._cancelled).run()
            manifest.write(place, recipe.digest, name, size=size(root))

        self._publisher.publish(recipe.digest, build, {ROOT, manifest.FILE})
        return recipe.digest

    def import_archive(
        self, archive: Path, name: str | None = None, pick: str | None = None
    ) -> str:
        """Import an image, or a root file system, and return its digest.

        *name* is what it is called, if not as the archive says; *pick* says which of
        several images is meant.
        """
        if name is not None:
            check_name(name)
        if not archive.exists():
            raise NotFound(
                f"there is no image file {archive}: give an OCI layout, a docker archive, "
                "or the tar of a root file system"
            )
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        fingerprint = manifest.fingerprint(archive)
        try:
            if is_image(archive):
                names, digest = self._import_image(archive, pick)
            else:
                names, digest = (), self._import_root(archive)
        except NOT_A_TAR as error:
            raise InvalidRequest(
                f"{archive} is not a whole tar archive: {error}"
            ) from None
        tags = Tags(self._directory)
        for tag in (name,) if name else names or (_name_of(archive),):
            # What an archive calls itself is not always a name; the digest is.
            with contextlib.suppress(InvalidRequest):
                tags.set(check_name(tag), digest)
        if pick is None and fingerprint == manifest.fingerprint(archive):
            (self._directory / fingerprint).write_text(digest)
        return digest

    def _import_root(self, archive: Path) -> str:
        """Import the root file system in *archive*; return its digest."""
        total = max(1, archive.stat().st_size)
        reading = f"reading {archive.name}"
        unpacking = f"unpacking {archive.name}"
        with archive.open("rb") as file:
            whole = Hashed(file, lambda done: self._report(0.3 * done / total, reading))
            digest = whole.drain()

        def fill(place: Path) -> None:
            root = place / ROOT
            root.mkdir(mode=0o755)

            def watch(done: int) -> None:
                self._report(min(1.0, 0.3 + 0.7 * done / total), unpacking)

            with (
                archive.open("rb") as file,
                Tree(root) as tree,
                plain(Hashed(file, watch)) as stream,
                opened_tar(stream) as tar,
            ):
                Unpacking(tree, room(place), layer=False).run(tar)
            check_root(archive, root)
            manifest.write(place, digest, _name_of(archive), size=size(root))

        self._publisher.publish(digest, fill, {ROOT, manifest.FILE})
        return digest

    def _import_image(
        self, archive: Path, pick: str | None
    ) -> tuple[tuple[str, ...], str]:
        """Import an image in layers; return what the archive calls it, and its digest."""
        with self._opened(archive) as files:
            image = read_image(files, pick)
            layers: list[Layer] = []
            for number, packed in enumerate(image.layers):
                below = layers[-1].chain if layers else None
                chain = chain_of(below, packed.diff)
                layer = self._layers.find(chain)
                if layer is None:
                    text = f"unpacking layer {number + 1} of {len(image.layers)}"
                    share = (number / len(image.layers), text)
                    fill = self._filler(files, packed, share)
                    layer = self._layers.make(chain, layers, fill, self._report)
                layers.append(layer)

        def describe(place: Path) -> None:
            manifest.write(
                place,
                image.digest,
                next(iter(image.names), _name_of(archive)),
                size=sum(self._layers.size(layer.name) for layer in layers),
                config=image.config,
                layers=[layer.name for layer in layers],
            )

        self._publisher.publish(image.digest, describe, {manifest.FILE})
        for layer in layers:
            layer.lease.close()
        return image.names, image.digest

    def _filler(
        self, files: Files, packed: PackedLayer, share: tuple[float, str]
    ) -> Callable[[Path], None]:
        """Return what unpacks a layer, and checks that it is the one it claims to be."""

        def fill(root: Path) -> None:
            with files.open(packed.file) as file, Tree(root) as tree:
                blob = Hashed(file, lambda _: self._report(*share))
                with plain(blob) as stream:
                    tarred = Hashed(stream, lambda _: self._report(*share))
                    with opened_tar(tarred) as tar:
                        room_here = room(self._directory)
                        Unpacking(tree, room_here, layer=True).run(tar)
                    diff = tarred.drain()
                if diff != packed.diff or packed.digest not in {None, blob.drain()}:
                    raise InvalidRequest(
                        f"{packed.file} of the archive does not have the digest it claims"
                    )

        return fill

    @contextlib.contextmanager
    def _opened(self, archive: Path) -> Iterator[Files]:
        """Open the files of an image, of a compressed archive by a copy without a name."""
        if archive.is_dir():
            with DirectoryFiles(archive) as files:
                yield files
            return
        with archive.open("rb") as file:
            if is_compressed(file):
                decompressed = self._decompressed(file, archive.name)
                with decompressed as copy, TarFiles(copy) as tar:
                    yield tar
            else:
                with TarFiles(file) as tar:
                    yield tar

    @contextlib.contextmanager
    def _decompressed(self, file: IO[bytes], name: str) -> Iterator[IO[bytes]]:
        left = room(self._directory)
        try:
            with (
                tempfile.TemporaryFile(dir=self._directory) as copy,
                plain(file) as stream,
            ):
                while piece := stream.read(_PIECE):
                    left -= len(piece)
                    if left < 0:
                        raise full(self._directory)
                    copy.write(piece)
                    self._report(0.0, f"decompressing {name}")
                copy.seek(0)
                yield copy
        except OSError as error:
            if error.errno in FULL:
                raise full(self._directory) from None
            raise


def unknown(reference: str, names: Sequence[str]) -> NotFound:
    """Say that there is no such image, and what there is."""
    stored = ", ".join(names) or "none yet"
    return NotFound(
        f"there is no image {reference!r}. Stored images: {stored}. Use `default`, "
        "which is built when it is first used, or the path of a root file system's tar, "
        "an OCI layout or a docker archive"
    )


def _name_of(archive: Path) -> str:
    """Make a name for what an archive holds."""
    stem = archive.resolve().name.partition(".")[0]
    return _NOT_IN_NAMES.sub("-", stem).strip("-.") or "image"
