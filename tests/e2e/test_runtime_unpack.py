"""Root file systems come in as archives; hostile ones do not get out of their place."""

from __future__ import annotations

import subprocess
import tarfile
from pathlib import Path

import pytest

from stockade.errors import InvalidRequest
from stockade.runtime.images import ImageStore
from tests.e2e.runtime_archives import ROOT, archive, ensure, entry, leftovers

pytestmark = pytest.mark.root


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore(tmp_path / "data")


@pytest.mark.parametrize("ending", ["tar", "tar.gz", "tar.xz", "tar.bz2", "tar.zst"])
def test_an_archive_is_imported_by_what_is_in_it(
    store: ImageStore, tmp_path: Path, ending: str
) -> None:
    plain = archive(
        tmp_path / "root.tar",
        *ROOT,
        entry("usr/suid", mode=0o4755, uid=5, gid=6, data=b"x" * 70_000, mtime=1000),
        entry("usr/link", tarfile.SYMTYPE, linkname="/etc/passwd", uid=7),
        entry("usr/hard", tarfile.LNKTYPE, linkname="./usr/suid"),
        entry("usr/fifo", tarfile.FIFOTYPE, mode=0o600),
        entry("usr/null", tarfile.CHRTYPE, devmajor=1, devminor=3),
        entry("usr/disk", tarfile.BLKTYPE, devmajor=8, devminor=0),
        entry("tmp", tarfile.DIRTYPE, mode=0o1777, uid=3),
        entry("no/parent/file", data=b"y"),
    )
    tools = {"gz": "gzip", "xz": "xz", "bz2": "bzip2", "zst": "zstd"}
    path = plain
    if ending != "tar":
        subprocess.run([tools[ending.split(".")[1]], "-qk", plain], check=True)
        path = plain.with_name(f"root.{ending}")
    image = ensure(store, path)
    (root,) = image.layers
    suid = root / "usr/suid"
    assert suid.read_bytes() == b"x" * 70_000
    status = suid.stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (5, 6, 0o4755)
    assert (status.st_mtime, status.st_nlink) == (1000, 2)
    assert (root / "usr/link").readlink() == Path("/etc/passwd")
    assert (root / "usr/link").lstat().st_uid == 7
    assert (root / "usr/fifo").is_fifo()
    assert not (root / "usr/null").exists()
    assert not (root / "usr/disk").exists()
    assert (root / "tmp").stat().st_mode & 0o7777 == 0o1777
    assert (root / "no/parent/file").read_bytes() == b"y"
    assert leftovers(tmp_path) == []
    assert store.find(str(path)) == image, "the second time nothing is read"
    assert ensure(store, image.digest[:12]) == image
    assert ensure(store, f"sha256:{image.digest}") == image
    assert ensure(store, "root") == image
    # The store holds set-user-id programs: it is closed to others.
    assert (tmp_path / "data/images").stat().st_mode & 0o777 == 0o700


HOSTILE = {
    "a name that climbs": (entry("../../victim/file", data=b"evil"),),
    "a name that climbs later": (entry("usr/../../../victim/file", data=b"evil"),),
    "an absolute name": (entry("{victim}/file", data=b"evil"),),
    "a link to the host, written through": (
        entry("usr/out", tarfile.SYMTYPE, linkname="{victim}"),
        entry("usr/out/file", data=b"evil"),
    ),
    "a climbing link, written through": (
        entry("usr/out", tarfile.SYMTYPE, linkname="../../../../../..{victim}"),
        entry("usr/out/file", data=b"evil"),
    ),
    "a link to a file, overwritten": (
        entry("usr/out", tarfile.SYMTYPE, linkname="{victim}/file"),
        entry("usr/out", data=b"evil"),
    ),
    "a link to a directory, owned": (
        entry("usr/out", tarfile.SYMTYPE, linkname="{victim}"),
        entry("usr/out", tarfile.DIRTYPE, mode=0o777, uid=666),
    ),
    "a chain of links": (
        entry("usr/a", tarfile.SYMTYPE, linkname="{victim}/.."),
        entry("usr/b", tarfile.SYMTYPE, linkname="a/victim"),
        entry("usr/b/file", data=b"evil"),
    ),
    "a hard link to the host": (
        entry("usr/out", tarfile.LNKTYPE, linkname="{victim}/file"),
        entry("usr/out", data=b"evil"),
    ),
    "a climbing hard link": (
        entry("usr/out", tarfile.LNKTYPE, linkname="../../../{victim}/file"),
    ),
    "a hard link through a link": (
        entry("usr/dir", tarfile.SYMTYPE, linkname="{victim}"),
        entry("usr/out", tarfile.LNKTYPE, linkname="usr/dir/file"),
        entry("usr/out", data=b"evil", mode=0o4777),
    ),
    "a kernel link": (
        entry("usr/out", tarfile.SYMTYPE, linkname="/proc/self/root"),
        entry("usr/out{victim}/file", data=b"evil"),
    ),
    "a file where a directory is": (entry("etc", data=b"evil"),),
    "a directory where a file is": (entry("etc/passwd/x", data=b"evil"),),
}


def facts(victim: Path) -> list[tuple[Path, int, int, int]]:
    places = [victim, *sorted(victim.iterdir())]
    return [
        (place, status.st_uid, status.st_mode, status.st_nlink)
        for place in places
        for status in [place.stat()]
    ]


@pytest.mark.parametrize("attack", HOSTILE)
def test_a_hostile_archive_stays_inside(
    store: ImageStore, tmp_path: Path, attack: str
) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "file").write_text("untouched")
    before = facts(victim)
    members = []
    for name, given, data in HOSTILE[attack]:
        fields = dict(given)
        if "linkname" in fields:
            fields["linkname"] = str(fields["linkname"]).format(victim=victim)
        members.append((name.format(victim=victim), fields, data))
    path = archive(tmp_path / "bad.tar", *ROOT, *members)
    try:
        image = ensure(store, path)
    except InvalidRequest:
        assert list((tmp_path / "data/images").glob("[!.]*")) == []
    else:
        assert not any(p.is_symlink() for p in image.layers)
    assert leftovers(tmp_path) == []
    assert facts(victim) == before
    assert (victim / "file").read_text() == "untouched"


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (b"", "not a whole tar"),
        (b"not a tar at all" * 100, "not a whole tar"),
        (b"\x1f\x8b\x08\x00broken", "not a whole tar"),
        (b"\x28\xb5\x2f\xfdbroken", "not a whole tar|cannot be decompressed"),
    ],
)
def test_what_is_no_archive_is_refused(
    store: ImageStore, tmp_path: Path, contents: bytes, message: str
) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(contents)
    with pytest.raises(InvalidRequest, match=message):
        ensure(store, path)
    assert leftovers(tmp_path) == []


def test_a_truncated_archive_leaves_nothing(store: ImageStore, tmp_path: Path) -> None:
    whole = archive(tmp_path / "w.tar", *ROOT, entry("usr/big", data=b"x" * 100_000))
    cut = tmp_path / "cut.tar"
    cut.write_bytes(whole.read_bytes()[:60_000])
    with pytest.raises(InvalidRequest, match="not a whole tar"):
        ensure(store, cut)
    assert leftovers(tmp_path) == []


def test_archives_of_other_things_are_told_apart(
    store: ImageStore, tmp_path: Path
) -> None:
    with pytest.raises(InvalidRequest, match="neither /usr nor /bin"):
        ensure(store, archive(tmp_path / "a.tar", entry("readme", data=b"x")))
    saved = archive(tmp_path / "b.tar", entry("manifest.json", data=b"[]"))
    with pytest.raises(InvalidRequest, match="has no image"):
        ensure(store, saved)
