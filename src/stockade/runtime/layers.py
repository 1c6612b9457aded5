"""Layers: the steps that images are made of, shared by all that begin alike.

`images/layers/<chain>/` holds `rootfs` and `layer.json`. A layer is made by changing a
mounted overlay of those below it, so that the kernel writes what was deleted or replaced
in its own terms; it is therefore named after all of them, as the OCI's chain id is.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from stockade.runtime import manifest, overlay
from stockade.runtime.leases import Lease, hold
from stockade.runtime.publishing import Publisher, Report

#: What describes a layer, and is locked by who has a use for it.
DESCRIPTION = "layer.json"
ROOT = "rootfs"
# In manifests: the root file system of the image that is named after it.
_OF_IMAGE = "@"

Fill = Callable[[Path], None]


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer that is not collected as long as this value exists.

    *name* is what manifests call it: its chain id, or `@` and an image that has it as a
    root file system of its own.
    """

    chain: str
    name: str
    root: Path
    lease: Lease


class Layers:
    """The layers of one store."""

    def __init__(self, images: Path) -> None:
        self._images = images
        self._aliases = images / "aliases"
        self.directory = images / "layers"

    def root(self, name: str) -> Path:
        """Where the files of a layer are."""
        if name.startswith(_OF_IMAGE):
            return self._images / name.removeprefix(_OF_IMAGE) / ROOT
        return self.directory / name / ROOT

    def find(self, chain: str) -> Layer | None:
        """Return a stored layer and keep it."""
        names = [chain]
        with contextlib.suppress(FileNotFoundError):
            names.insert(0, (self._aliases / chain).read_text())
        for name in names:
            lease = hold(self._description(name))
            if lease is not None:
                return Layer(chain, name, self.root(name), lease)
        return None

    def remember(self, chain: str, root: Path) -> None:
        """Note that what others know as the layer *chain* is *root* here."""
        self._aliases.mkdir(mode=0o700, exist_ok=True)
        place = root.parent
        name = place.name
        if place.parent == self._images:
            name = f"{_OF_IMAGE}{name}"
        scratch = self._aliases / f".{os.urandom(8).hex()}"
        scratch.write_text(name)
        scratch.replace(self._aliases / chain)

    def forget(self) -> None:
        """Forget what was noted of layers that are gone."""
        for alias in self._aliases.glob("*"):
            with contextlib.suppress(FileNotFoundError):
                if not self._description(alias.read_text()).exists():
                    alias.unlink()

    def _description(self, name: str) -> Path:
        if name.startswith(_OF_IMAGE):
            return self._images / name.removeprefix(_OF_IMAGE) / manifest.FILE
        return self.directory / name / DESCRIPTION

    def make(
        self, chain: str, below: Sequence[Layer], fill: Fill, report: Report
    ) -> Layer:
        """Return the layer *chain*, made by *fill* from those *below* if it is new."""
        publisher = Publisher(self.directory, report)

        def build(place: Path) -> None:
            if below:
                lowers = [layer.root for layer in below]
                _change(place, lowers, fill)
            else:
                (place / ROOT).mkdir(mode=0o755)
                fill(place / ROOT)
            facts = {"schema": 1, "chain": chain, "size": size(place / ROOT)}
            (place / DESCRIPTION).write_text(json.dumps(facts) + "\n")

        while True:
            # A collector may take it between these two.
            publisher.publish(chain, build, {ROOT, DESCRIPTION})
            found = self.find(chain)
            if found is not None:
                return found

    def size(self, name: str) -> int:
        """How many bytes a layer has on the disk."""
        facts = json.loads(self._description(name).read_bytes())
        # Images of earlier versions do not say.
        return int(facts["size"]) if "size" in facts else size(self.root(name))


def chain_of(below: str | None, diff: str) -> str:
    """Name the layer that makes the change *diff* to the layer *below*."""
    if below is None:
        return diff
    return hashlib.sha256(f"sha256:{below} sha256:{diff}".encode()).hexdigest()


def size(root: Path) -> int:
    """How many bytes the files below *root* take on the disk."""
    total, seen, rest = 0, set[int](), [root]
    while rest:
        with os.scandir(rest.pop()) as entries:
            for entry in entries:
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(status.st_mode):
                    rest.append(Path(entry.path))
                elif status.st_nlink > 1:
                    if status.st_ino in seen:
                        continue
                    seen.add(status.st_ino)
                total += status.st_blocks * 512
    return total


def _change(place: Path, lowers: Sequence[Path], fill: Fill) -> None:
    """Let *fill* change an overlay of *lowers*; what it changed is the new layer."""
    # In a thread of its own, whose mounts vanish with it.
    failed: list[BaseException] = []

    def change() -> None:
        try:
            overlay.enter_private_mounts()
            with overlay.writable(place, lowers) as root:
                below = lowers[-1].stat()
                os.chown(root, below.st_uid, below.st_gid)
                root.chmod(below.st_mode & 0o7777)
                fill(root)
        except BaseException as error:  # noqa: BLE001 - raised again by who waits
            failed.append(error)

    thread = threading.Thread(target=change, name="layer")
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    (place / "upper").rename(place / ROOT)
