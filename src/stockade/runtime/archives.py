"""Container images as they are handed around: OCI layouts and `docker save` archives.

Nothing in them is trusted: documents are bounded, and what a digest names is only taken
with that digest.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stockade.errors import InvalidRequest
from stockade.runtime.archivefiles import Files
from stockade.runtime.imageconfig import ImageConfig, read_config
from stockade.runtime.streams import NOT_A_TAR, opened_tar, plain

_MAX_DOCUMENT = 4 << 20
#: An overlay's options have to fit into one page.
MAX_LAYERS = 100
_MAX_NESTING = 4
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_OF_AN_IMAGE = re.compile(
    r"(\./)?(blobs(/.*)?|[0-9a-f]{64}(/.*|\.json|\.tar)?|manifest\.json|index\.json|oci-layout"
    r"|repositories)/?"
)
_NAMES = ("io.containerd.image.name", "org.opencontainers.image.ref.name")
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True, slots=True)
class PackedLayer:
    """A layer in an archive: its file, the file's digest if told, and the tar's."""

    file: str
    digest: str | None
    diff: str


@dataclass(frozen=True, slots=True)
class PackedImage:
    """An image in an archive. *digest* is that of its configuration."""

    digest: str
    names: tuple[str, ...]
    config: ImageConfig
    layers: tuple[PackedLayer, ...]


def is_image(path: Path) -> bool:
    """Whether *path* is an image in layers: a layout, or a tar of one."""
    if path.is_dir():
        return True
    names: list[str] = []
    # Whoever reads it to its end says what is wrong with it.
    with (
        contextlib.suppress(*NOT_A_TAR, InvalidRequest),
        path.open("rb") as file,
        plain(file) as stream,
        opened_tar(stream) as tar,
    ):
        names += [member.name for member in itertools.islice(tar, 3)]
    names = [name for name in names if name not in {".", ""}]
    return bool(names) and all(map(_OF_AN_IMAGE.fullmatch, names))


def read_image(files: Files, wanted: str | None) -> PackedImage:
    """Return the image named *wanted*, or the only one. Raises `InvalidRequest`."""
    if files.has("index.json"):
        found = list(_of_layout(files))
    elif files.has("manifest.json"):
        found = list(_of_docker(files))
    else:
        raise InvalidRequest(
            "this is no container image: it has neither an index.json nor a manifest.json"
        )
    if not found:
        raise InvalidRequest("the archive has no image that this machine could run")
    chosen = [
        image
        for image in found
        if wanted is None or wanted in image.names or image.digest.startswith(wanted)
    ]
    if len({image.digest for image in chosen}) == 1:
        return chosen[0]
    names = [next(iter(image.names), image.digest[:12]) for image in found]
    problem = "has several images" if chosen else "does not have that image"
    raise InvalidRequest(
        f"the archive {problem}; choose one with --pick: {', '.join(names)}"
    )


def _of_layout(files: Files) -> Iterator[PackedImage]:
    index = _document(files, "index.json", None)
    for names, manifest in _manifests(files, index, (), _MAX_NESTING):
        digest = _digest(_at(manifest, "config", dict).get("digest"))
        config = _document(files, blob_name(digest), digest)
        digests = [
            _digest(layer.get("digest") if isinstance(layer, dict) else None)
            for layer in _at(manifest, "layers", list)
        ]
        diffs = _diffs(config, len(digests))
        layers = tuple(
            PackedLayer(blob_name(packed), packed, diff)
            for packed, diff in zip(digests, diffs, strict=True)
        )
        yield PackedImage(digest, names, read_config(config), layers)


def _manifests(
    files: Files, index: Mapping[str, Any], names: tuple[str, ...], depth: int
) -> Iterator[tuple[tuple[str, ...], Mapping[str, Any]]]:
    """Yield the manifests for this machine, with the names the archive has for them."""
    for entry in _at(index, "manifests", list):
        if not isinstance(entry, dict) or not _is_ours(entry.get("platform")):
            continue
        marks = entry.get("annotations") or {}
        own = tuple(str(marks[key]) for key in _NAMES if key in marks) or names
        digest = _digest(entry.get("digest"))
        document = _document(files, blob_name(digest), digest)
        if "manifests" in document:
            if depth:
                yield from _manifests(files, document, own, depth - 1)
        elif "layers" in document:
            yield own, document


def _of_docker(files: Files) -> Iterator[PackedImage]:
    listed = _json(files, "manifest.json", None)
    for entry in listed if isinstance(listed, list) else ():
        file = _at(entry, "Config", str)
        content = _content(files, file)
        config = _mapping(_parsed(content, file), file)
        paths = [str(path) for path in _at(entry, "Layers", list)]
        diffs = _diffs(config, len(paths))
        yield PackedImage(
            hashlib.sha256(content).hexdigest(),
            tuple(str(name) for name in entry.get("RepoTags") or ()),
            read_config(config),
            tuple(
                PackedLayer(path, None, diff)
                for path, diff in zip(paths, diffs, strict=True)
            ),
        )


def machine() -> str | None:
    """What images call this kind of machine."""
    return _MACHINES.get(os.uname().machine)


def _is_ours(platform: object) -> bool:
    if not isinstance(platform, dict):
        return True
    return (platform.get("os"), platform.get("architecture")) == ("linux", machine())


def _diffs(config: Mapping[str, Any], count: int) -> list[str]:
    """Return the digests of the layers' tars, of an image that can run here."""
    here = machine()
    built_for = (config.get("os", "linux"), config.get("architecture", here))
    if built_for != ("linux", here):
        raise InvalidRequest(
            f"the image is for {built_for[0]} on {built_for[1]}, not for this machine "
            f"(linux on {here})"
        )
    diffs = [
        _digest(text) for text in _at(_at(config, "rootfs", dict), "diff_ids", list)
    ]
    if len(diffs) != count or not 0 < count <= MAX_LAYERS:
        raise InvalidRequest(
            f"the image has {count} layers and {len(diffs)} digests of them: "
            f"there must be as many, from 1 to {MAX_LAYERS}"
        )
    return diffs


def _document(files: Files, name: str, digest: str | None) -> dict[str, Any]:
    return _mapping(_json(files, name, digest), name)


def _json(files: Files, name: str, digest: str | None) -> Any:
    content = _content(files, name)
    if digest is not None and hashlib.sha256(content).hexdigest() != digest:
        raise InvalidRequest(
            f"{name} of the archive does not have the digest it claims"
        )
    return _parsed(content, name)


def _content(files: Files, name: str) -> bytes:
    with files.open(name) as file:
        content = file.read(_MAX_DOCUMENT + 1)
    if len(content) > _MAX_DOCUMENT:
        raise InvalidRequest(f"{name} of the archive is larger than any image needs")
    return content


def _parsed(content: bytes, name: str) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        raise InvalidRequest(f"{name} of the archive is not JSON") from None


def _mapping(document: object, name: str) -> dict[str, Any]:
    if not isinstance(document, dict):
        raise InvalidRequest(f"{name} of the archive is not what it should be")
    return document


def _at(document: object, key: str, kind: type) -> Any:
    value = document.get(key) if isinstance(document, dict) else None
    if not isinstance(value, kind):
        raise InvalidRequest(f"the archive's documents lack {key!r}")
    return value


def _digest(text: object) -> str:
    match = _DIGEST.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise InvalidRequest(f"not a sha256 digest in the archive: {text!r}")
    return match[1]


def blob_name(digest: str) -> str:
    """Where a layout has the blob with this digest."""
    return f"blobs/sha256/{digest}"
