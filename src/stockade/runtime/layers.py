"""Layers: the steps that images are made of, shared by all that begin alike.

`images/layers/<chain>/` holds `rootfs` and `layer.json`. A layer is made by changing a
mounted overlay of those below it, so that the kernel writes what was deleted or replaced
in its own terms; it is therefore named after all of them, as the OCI's chain id is.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from stockade.runtime import overlay
from stockade.runtime.leases import Lease, hold
from stockade.runtime.publishing import Publisher, Report

#: What describes a layer, and is locked by who has a use for it.
DESCRIPTION = "layer.json"
ROOT = "rootfs"

Fill = Callable[[Path], None]


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer that is not collected as long as this value exists."""

    chain: str
    root: Path
    lease: Lease


class Layers:
    """The layers of one store."""

    def __init__(self, images: Path) -> None:
        self.directory = images / "layers"

    def root(self, chain: str) -> Path:
        """Where the files of a layer are."""
        return self.directory / chain / ROOT

    def find(self, chain: str) -> Layer | None:
        """Return a stored layer and keep it."""
        lease = hold(self.directory / chain / DESCRIPTION)
        return None if lease is None else Layer(chain, self.root(chain), lease)

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

    def size(self, chain: str) -> int:
        """How many bytes a layer has on the disk."""
        facts = json.loads((self.directory / chain / DESCRIPTION).read_bytes())
        return int(facts["size"])


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
