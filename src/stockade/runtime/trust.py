"""The machine's certificate authorities as one more layer of an image.

Comparing and writing certificates takes some 20 ms; a layer that was made once costs a few
calls of stat(2). It is kept beside the image and made anew when a file of the machine, or
the operator's choice, has changed.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from stockade.runtime import certificates, overlay
from stockade.runtime.images import Image
from stockade.runtime.tree import Tree

_SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Trusting:
    """The layers of an image that trusts what the machine does, and its environment."""

    layers: tuple[Path, ...]
    env: Mapping[str, str]


def extend(image: Image, extra_files: Iterable[Path], *, anchors: bool) -> Trusting:
    """Return *image* with what is to be trusted in addition, made first if need be.

    *extra_files* are the operator's; *anchors* says whether the machine's count.
    """
    files = tuple(extra_files)
    if not files and not anchors:
        return Trusting(image.layers, image.env)
    key = _key(files, anchors=anchors)
    place = (image.place or image.layers[-1].parent) / f"trust-{key}"
    try:
        text = (place / "env.json").read_bytes()
    except FileNotFoundError:
        _make(image, place, certificates.of_machine(files, anchors=anchors))
        text = (place / "env.json").read_bytes()
    added: dict[str, str] = json.loads(text)
    if not added:
        return Trusting(image.layers, image.env)
    return Trusting((*image.layers, place / "upper"), {**image.env, **added})


def _key(files: tuple[Path, ...], *, anchors: bool) -> str:
    """Name the state of every file that certificates are taken from."""
    facts: list[object] = [_SCHEMA, anchors]
    for path in (*files, *(certificates.sources() if anchors else ())):
        try:
            status = path.stat()
        except OSError:
            continue
        facts.append([str(path), status.st_ino, status.st_size, status.st_mtime_ns])
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]


def _make(image: Image, place: Path, trusted: list[str]) -> None:
    """Make the layer: what changes when an overlay of the image is written to."""
    with _locked(place.parent):
        if place.exists():
            return  # somebody else has made it while we waited
        for stale in place.parent.glob(".trust-*"):
            overlay.delete(stale)
        scratch = place.parent / f".trust-{os.urandom(4).hex()}"
        scratch.mkdir(mode=0o700)
        try:
            with overlay.writable(scratch, image.layers) as root, Tree(root) as tree:
                added = certificates.install(tree, trusted)
            (scratch / "env.json").write_text(json.dumps(added))
            scratch.rename(place)
        except BaseException:
            overlay.delete(scratch)
            raise


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
