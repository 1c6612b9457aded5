"""An image of the store as an OCI layout, for tools that read those.

What comes back on top of it is recognised: the layers that were written are remembered by
the chain ids under which a reader knows them.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import tarfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, cast

from stockade.runtime.archives import blob_name, machine
from stockade.runtime.images import Image
from stockade.runtime.layers import Layers, chain_of
from stockade.runtime.whiteouts import OPAQUE, PREFIX

#: Where images are kept that were written for builds, by digest, beside the store.
BASES = "bases"

_CAPABILITY = "security.capability"
_OVERLAY_OPAQUE = "trusted.overlay.opaque"
_TYPES = "application/vnd.oci.image"


def export(image: Image, images: Path, target: Path, watch: Callable[[], None]) -> None:
    """Write *image*, of the store *images*, into the empty directory *target*.

    *watch* is called for every file, and may raise to stop.
    """
    (target / "blobs/sha256").mkdir(parents=True)
    layers, diffs, chain = Layers(images), [], None
    for root in image.layers:
        scratch = target / "layer"
        with scratch.open("wb") as file:
            diff = _write_layer(root, file, watch)
        size = scratch.stat().st_size
        scratch.rename(target / blob_name(diff))
        diffs.append((diff, size))
        chain = chain_of(chain, diff)
        layers.remember(chain, root)
    config = {
        "os": "linux",
        "architecture": machine(),
        "config": {
            "Env": [f"{name}={value}" for name, value in image.env.items()],
            **({"WorkingDir": image.workdir} if image.workdir else {}),
            **({"User": image.user} if image.user else {}),
            **({"Entrypoint": list(image.entrypoint)} if image.entrypoint else {}),
            **({"Cmd": list(image.command)} if image.command else {}),
        },
        # Builders look for cached steps by what is said here of each layer.
        "history": [{"created_by": f"stockade {diff}"} for diff, _ in diffs],
        "rootfs": {
            "type": "layers",
            "diff_ids": [f"sha256:{diff}" for diff, _ in diffs],
        },
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{_TYPES}.manifest.v1+json",
        "config": _blob(target, config, "config.v1+json"),
        "layers": [_descriptor(diff, size, "layer.v1.tar") for diff, size in diffs],
    }
    index = {
        "schemaVersion": 2,
        "manifests": [_blob(target, manifest, "manifest.v1+json")],
    }
    (target / "index.json").write_text(json.dumps(index))
    (target / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')


def _blob(target: Path, document: Mapping[str, Any], kind: str) -> dict[str, Any]:
    content = json.dumps(document, sort_keys=True).encode()
    digest = hashlib.sha256(content).hexdigest()
    (target / blob_name(digest)).write_bytes(content)
    return _descriptor(digest, len(content), kind)


def _descriptor(digest: str, size: int, kind: str) -> dict[str, Any]:
    return {"mediaType": f"{_TYPES}.{kind}", "digest": f"sha256:{digest}", "size": size}


class _Hashing:
    """A file that is hashed as it is written."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.hash = hashlib.sha256()

    def write(self, data: bytes, /) -> int:
        self.hash.update(data)
        return self._file.write(data)


def _write_layer(root: Path, file: IO[bytes], watch: Callable[[], None]) -> str:
    """Write the tar of a layer; return its digest."""
    hashing = _Hashing(file)
    stream = cast("IO[bytes]", hashing)  # to which it only writes
    with tarfile.open(
        fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT, bufsize=1 << 20
    ) as tar:
        _write_directory(tar, root, "", watch)
    return hashing.hash.hexdigest()


def _write_directory(
    tar: tarfile.TarFile, place: Path, name: str, watch: Callable[[], None]
) -> None:
    _write(tar, place, name or ".")
    if name and _attribute(place, _OVERLAY_OPAQUE) == b"y":
        tar.addfile(tarfile.TarInfo(f"{name}/{OPAQUE}"))
    with os.scandir(place) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        watch()
        inner = f"{name}/{entry.name}" if name else entry.name
        status = entry.stat(follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            _write_directory(tar, Path(entry.path), inner, watch)
        elif stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
            folder, _, last = inner.rpartition("/")
            mark = f"{PREFIX}{last}"
            tar.addfile(tarfile.TarInfo(f"{folder}/{mark}" if folder else mark))
        elif not stat.S_ISSOCK(status.st_mode):
            _write(tar, Path(entry.path), inner)


def _write(tar: tarfile.TarFile, path: Path, name: str) -> None:
    member = tar.gettarinfo(path, name)
    member.uname = member.gname = ""
    capability = _attribute(path, _CAPABILITY) if member.isreg() else None
    if capability is not None:
        text = capability.decode("utf-8", "surrogateescape")
        member.pax_headers = {f"SCHILY.xattr.{_CAPABILITY}": text}
    if member.isreg() and member.size:
        with path.open("rb") as content:
            tar.addfile(member, content)
    else:
        tar.addfile(member)


def _attribute(path: Path, name: str) -> bytes | None:
    with suppress(OSError):
        return os.getxattr(path, name, follow_symlinks=False)
    return None
