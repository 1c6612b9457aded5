"""Makes images: builds the default one, imports root file systems.

What is being made has a name with a leading dot. It is swept by whoever makes the same
image next, under that image's lock, so that an interrupted build leaves nothing for long.

The store is closed to other users of the machine: images hold set-user-id programs, and
on disk their owners are those of the machine.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from stockade.errors import NotFound
from stockade.runtime import manifest, overlay
from stockade.runtime.build import ImageBuild
from stockade.runtime.recipe import Recipe, local_recipe
from stockade.runtime.unpack import unpack

_LOCK_CHECK_SECONDS = 0.2
_PIECE = 1 << 22

Report = Callable[[float, str], None]


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

    def make_default(self) -> str:
        """Build the default image unless it is there; return its digest."""
        recipe: Recipe = local_recipe()

        def build(place: Path) -> None:
            ImageBuild(recipe, place, self._report, self._cancelled).run()

        self._make(recipe.digest, "default", build)
        return recipe.digest

    def make_from_tar(self, archive: Path) -> str:
        """Import the root file system in *archive*; return its digest."""
        if not archive.is_file():
            raise NotFound(
                f"there is no image file {archive}: give the tar of a root file system"
            )
        fingerprint = manifest.fingerprint(archive)
        digest = self._digest(archive)

        def fill(place: Path) -> None:
            root = place / "rootfs"
            root.mkdir(mode=0o755)
            text = f"unpacking {archive.name}"
            unpack(archive, root, lambda done: self._report(0.3 + 0.7 * done, text))

        self._make(digest, archive.name.partition(".")[0], fill)
        if fingerprint == manifest.fingerprint(archive):
            (self._directory / fingerprint).write_text(digest)
        return digest

    def _make(self, digest: str, name: str, fill: Callable[[Path], None]) -> None:
        """Let *fill* make `rootfs` in a scratch directory, and publish that."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory.chmod(0o700)
        with self._locked(digest):
            if (self._directory / digest).is_dir():
                return  # somebody else has made it while we waited
            for stale in self._directory.glob(f".new-{digest}-*"):
                overlay.delete(stale)
            place = self._directory / f".new-{digest}-{os.urandom(4).hex()}"
            place.mkdir(mode=0o700)
            try:
                fill(place)
                manifest.write(place, digest, name)
                for entry in place.iterdir():
                    if entry.name not in {"rootfs", "manifest.json"}:
                        overlay.delete(entry)
                # A power cut must not leave the name without the contents.
                os.sync()
                place.rename(self._directory / digest)
            except BaseException:
                overlay.delete(place)
                raise

    @contextlib.contextmanager
    def _locked(self, digest: str) -> Iterator[None]:
        """Hold the lock of one image; wait for who makes it at the same time."""
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        descriptor = os.open(self._directory / f".lock-{digest}", flags, 0o600)
        try:
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    self._report(0.0, "waiting for another stockade to make the image")
                    time.sleep(_LOCK_CHECK_SECONDS)
            yield
        finally:
            os.close(descriptor)

    def _digest(self, archive: Path) -> str:
        total, digest = max(1, archive.stat().st_size), hashlib.sha256()
        with archive.open("rb") as file:
            while piece := file.read(_PIECE):
                digest.update(piece)
                self._report(0.3 * file.tell() / total, f"reading {archive.name}")
        return digest.hexdigest()


def unknown(reference: str, names: Sequence[str]) -> NotFound:
    """Say that there is no such image, and what there is."""
    stored = ", ".join(names) or "none yet"
    return NotFound(
        f"there is no image {reference!r}. Stored images: {stored}. Use `default`, "
        "which is built when it is first used, or the path of a root file system's tar"
    )
