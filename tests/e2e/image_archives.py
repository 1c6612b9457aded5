"""Container images for tests, from layers in words: OCI layouts and docker archives."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.e2e.runtime_archives import Member, entry

MACHINE = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def tar_of(members: Sequence[Member]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, fields, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            info.mode = 0o644
            for key, value in fields.items():
                setattr(info, key, value)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def shell() -> list[Member]:
    """A root file system with a shell and nothing else to speak of."""
    found = shutil.which("dash") or shutil.which("sh")
    assert found is not None
    listed = subprocess.run(["ldd", found], capture_output=True, text=True, check=True)
    libraries = [word for word in listed.stdout.split() if word.startswith("/")]
    folders = ("bin", "etc", "usr", "srv", "srv/full", "proc", "sys", "dev", "root")
    return [
        *(entry(name, tarfile.DIRTYPE, mode=0o755) for name in folders),
        entry("etc/passwd", data=b"root:x:0:0::/root:/bin/sh\n"),
        entry("etc/group", data=b"root:x:0:\n"),
        entry("bin/sh", mode=0o755, data=Path(found).resolve().read_bytes()),
        *(
            entry(name.lstrip("/"), mode=0o755, data=Path(name).resolve().read_bytes())
            for name in libraries
        ),
    ]


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def configuration(tars: Sequence[bytes], **config: Any) -> bytes:
    document = {
        "os": "linux",
        "architecture": MACHINE,
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{sha(t)}" for t in tars]},
    }
    return json.dumps(document).encode()


class Layout:
    """An OCI layout in a directory; what it holds can be changed, to be wrong."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.blobs = top / "blobs/sha256"
        self.blobs.mkdir(parents=True)
        (top / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        self._entries: list[dict[str, Any]] = []

    def blob(self, data: bytes) -> dict[str, Any]:
        (self.blobs / sha(data)).write_bytes(data)
        return {"digest": f"sha256:{sha(data)}", "size": len(data)}

    def add(
        self,
        layers: Sequence[Sequence[Member]],
        *,
        name: str | None = None,
        platform: dict[str, str] | None = None,
        squeeze: bool = True,
        **config: Any,
    ) -> dict[str, Any]:
        tars = [tar_of(members) for members in layers]
        manifest = {
            "schemaVersion": 2,
            "config": self.blob(configuration(tars, **config)),
            "layers": [self.blob(gzip.compress(t) if squeeze else t) for t in tars],
        }
        entry = {"mediaType": MANIFEST, **self.blob(json.dumps(manifest).encode())}
        if name is not None:
            entry["annotations"] = {"org.opencontainers.image.ref.name": name}
        if platform is not None:
            entry["platform"] = platform
        self._entries.append(entry)
        self.index(self._entries)
        return manifest

    def index(self, entries: Sequence[object]) -> None:
        document = {"schemaVersion": 2, "manifests": list(entries)}
        (self.top / "index.json").write_text(json.dumps(document))

    def pack(self, path: Path, mode: str = "w") -> Path:
        with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
            for file in sorted(self.top.rglob("*")):
                tar.add(file, file.relative_to(self.top), recursive=False)
        return path


def docker_archive(
    path: Path,
    layers: Sequence[Sequence[Member]],
    tags: Sequence[str] = (),
    **config: Any,
) -> Path:
    """What `docker save` wrote before it wrote layouts as well."""
    tars = [tar_of(members) for members in layers]
    document = configuration(tars, **config)
    manifest = [
        {
            "Config": f"{sha(document)}.json",
            "RepoTags": list(tags),
            "Layers": [f"{sha(t)}/layer.tar" for t in tars],
        }
    ]
    files = {f"{sha(t)}/layer.tar": t for t in tars}
    files[f"{sha(document)}.json"] = document
    files["manifest.json"] = json.dumps(manifest).encode()
    with tarfile.open(path, "w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path
