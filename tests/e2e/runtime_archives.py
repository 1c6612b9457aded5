"""Tar archives for tests, from words; and the store they are imported into."""

from __future__ import annotations

import asyncio
import io
import tarfile
from pathlib import Path

from stockade.runtime.images import Image, ImageStore

Member = tuple[str, dict[str, object], bytes]


def entry(name: str, kind: bytes = tarfile.REGTYPE, **fields: object) -> Member:
    data = fields.pop("data", b"")
    assert isinstance(data, bytes)
    return name, {"type": kind, **fields}, data


ROOT = (
    entry("./", tarfile.DIRTYPE, mode=0o755),
    entry("./usr", tarfile.DIRTYPE, mode=0o755),
    entry("./etc", tarfile.DIRTYPE, mode=0o755, uid=0),
    entry("./etc/passwd", mode=0o644, data=b"root:x:0:0::/root:/bin/sh\n"),
)


def archive(path: Path, *members: Member, mode: str = "w") -> Path:
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name, fields, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            info.mode = 0o644
            for key, value in fields.items():
                setattr(info, key, value)
            tar.addfile(info, io.BytesIO(data))
    return path


def ensure(store: ImageStore, reference: str | Path) -> Image:
    return asyncio.run(store.ensure(str(reference)))


def leftovers(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "data/images").glob(".new-*"))
