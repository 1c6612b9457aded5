"""Layers that were made to reach the host, or to fill it, do neither."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from stockade.errors import InvalidRequest, Unavailable
from stockade.runtime.images import ImageStore
from tests.e2e.image_archives import Layout, tar_of
from tests.e2e.image_store import bring
from tests.e2e.runtime_archives import ROOT, Member, archive, ensure, entry, leftovers
from tests.e2e.test_runtime_unpack import HOSTILE, facts

pytestmark = pytest.mark.root

REPOSITORY = Path(__file__).resolve().parents[2]
SYMLINK = tarfile.SYMTYPE
MORE = {
    "a whiteout through a link to the host": (
        entry("usr/out", SYMLINK, linkname="{victim}"),
        entry("usr/out/.wh.file"),
    ),
    "an opaque mark through a link to the host": (
        entry("usr/out", SYMLINK, linkname="{victim}"),
        entry("usr/out/.wh..wh..opq"),
    ),
    "an opaque mark on what climbs": (entry("../../{victim}/.wh..wh..opq"),),
    "a whiteout of the directory above": (entry("usr/.wh..."),),
    "a whiteout of itself": (entry("usr/.wh.."),),
    "a whiteout of nothing": (entry("usr/.wh."),),
    "a whiteout of everything": (entry(".wh..wh..opq"),),
    "marks of another kind": (entry(".wh..wh.plnk", SYMLINK, linkname="{victim}"),),
}


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore(tmp_path / "data")


def filled(members: tuple[Member, ...], victim: Path) -> list[Member]:
    found = []
    for name, given, data in members:
        fields = dict(given)
        if "linkname" in fields:
            fields["linkname"] = str(fields["linkname"]).format(victim=victim)
        found.append((name.format(victim=victim), fields, data))
    return found


@pytest.mark.parametrize("attack", [*HOSTILE, *MORE])
def test_a_hostile_layer_stays_inside(
    store: ImageStore, tmp_path: Path, attack: str
) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "file").write_text("untouched")
    before = facts(victim)
    layout = Layout(tmp_path / "layout")
    layout.add([ROOT, filled({**HOSTILE, **MORE}[attack], victim)])
    try:
        image = bring(store, layout.top)
    except InvalidRequest:
        assert store.names() == {}
    else:
        assert not any(layer.is_symlink() for layer in image.layers)
        lower = image.layers[0]
        assert (lower / "etc/passwd").read_text().startswith("root:")
    assert leftovers(tmp_path) == []
    assert list((tmp_path / "data/images/layers").glob(".new-*")) == []
    assert facts(victim) == before
    assert (victim / "file").read_text() == "untouched"
    assert str(tmp_path) not in Path("/proc/self/mounts").read_text()


def test_no_attribute_of_the_machine_gets_in(store: ImageStore, tmp_path: Path) -> None:
    marks = {
        "SCHILY.xattr.trusted.overlay.opaque": "y",
        "SCHILY.xattr.trusted.overlay.redirect": "/etc",
        "SCHILY.xattr.user.note": "x",
        "SCHILY.xattr.security.selinux": "x",
    }
    # cap_net_raw+ep, as setcap(8) writes it.
    capability = b"\x01\x00\x00\x02\x00\x20" + b"\x00" * 14
    granted = {"SCHILY.xattr.security.capability": capability.decode()}
    members = [
        entry("usr/marked", tarfile.DIRTYPE, mode=0o755, pax_headers=marks),
        entry("usr/file", pax_headers=marks),
        entry("usr/ping", pax_headers=granted),
        entry("usr/zero", tarfile.CHRTYPE, devmajor=0, devminor=0),
        entry("usr/disk", tarfile.BLKTYPE, devmajor=8, devminor=0),
    ]
    layout = Layout(tmp_path / "layout")
    layout.add([[*ROOT, *members]])
    (root,) = bring(store, layout.top).layers
    assert os.listxattr(root / "usr/marked") == []
    assert os.listxattr(root / "usr/file") == []
    assert os.getxattr(root / "usr/ping", "security.capability") == capability
    assert sorted(path.name for path in (root / "usr").iterdir()) == [
        "file",
        "marked",
        "ping",
    ]


IMPOSSIBLE = {
    "an owner that no kernel has": entry("usr/x", uid=1 << 40),
    "a time that no kernel has": entry("usr/x", mtime=1 << 70),
    "a name that no file can have": entry("usr/" + "x" * 300),
    "a path that no file can have": entry("usr/" + "x/" * 3000 + "x"),
    "a link to itself on the way": entry("usr/x/y", data=b"x"),
    "a capability that is none": entry(
        "usr/x", pax_headers={"SCHILY.xattr.security.capability": "x"}
    ),
    "a header larger than any": entry("usr/x", pax_headers={"k": "v" * (2 << 20)}),
}


@pytest.mark.parametrize("layered", [False, True], ids=["root", "layer"])
@pytest.mark.parametrize("what", IMPOSSIBLE)
def test_what_no_file_can_be_is_refused(
    store: ImageStore, tmp_path: Path, what: str, layered: bool
) -> None:
    members = [*ROOT, entry("usr/x", SYMLINK, linkname="x"), IMPOSSIBLE[what]]
    if "itself" not in what:
        del members[-2]
    layout = Layout(tmp_path / "layout")
    if layered:
        layout.add([ROOT, members])
        path = layout.top
    else:
        path = tmp_path / "root.tar"
        path.write_bytes(tar_of(members))
    with pytest.raises(InvalidRequest):
        ensure(store, path)
    assert leftovers(tmp_path) == []
    assert store.names() == {}


def test_a_hole_stays_a_hole_and_an_endless_one_is_refused(
    store: ImageStore, tmp_path: Path
) -> None:
    top = tmp_path / "top"
    (top / "usr").mkdir(parents=True)
    with (top / "usr/log").open("wb") as file:
        file.truncate(200 << 30)
        file.seek(100 << 30)
        file.write(b"middle")
    tar = tmp_path / "root.tar"
    subprocess.run(["tar", "-C", top, "--sparse", "-cf", tar, "."], check=True)
    assert tar.stat().st_size < 1 << 20
    (root,) = ensure(store, tar).layers
    status = (root / "usr/log").stat()
    assert (status.st_size, status.st_blocks < 100) == (200 << 30, True)
    with (root / "usr/log").open("rb") as file:
        file.seek(100 << 30)
        assert file.read(7) == b"middle\0"
    with (top / "usr/log").open("ab") as file:
        file.truncate(2 << 40)
    subprocess.run(["tar", "-C", top, "--sparse", "-cf", tar, "."], check=True)
    with pytest.raises(Unavailable, match="more than there is room for"):
        ensure(store, tar)


# What a full disk does, on small ones that go with the mount namespace of a process.
FULL = """
import asyncio, subprocess, sys
from pathlib import Path
from stockade.errors import Unavailable
from stockade.runtime.collecting import Collector
from stockade.runtime.images import ImageStore
options, large, small = sys.argv[1:]
subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", "/mnt"], check=True)
store = ImageStore(Path("/mnt"))
before = asyncio.run(store.ensure(small))
try:
    asyncio.run(store.ensure(large))
except Unavailable as error:
    print(error)
assert [p.name for p in Path("/mnt/images").rglob(".new-*")] == []
assert store.find(small) == before
assert (before.layers[0] / "etc/passwd").read_text().startswith("root:")
del before
Collector(store).prune(every=True)
asyncio.run(store.ensure(small))
"""


@pytest.mark.parametrize("layered", [False, True], ids=["root", "layer"])
@pytest.mark.parametrize(
    ("options", "message"),
    [("size=8m", "room for"), ("size=900m,nr_inodes=400", "no space is left")],
)
def test_a_full_disk_is_said_and_spoils_nothing(
    tmp_path: Path, options: str, message: str, layered: bool
) -> None:
    many = [entry(f"usr/{number}", data=b"x" * 40_000) for number in range(600)]
    small = archive(tmp_path / "small.tar", *ROOT)
    large = archive(tmp_path / "large.tar", *ROOT, *many)
    if layered:
        layout = Layout(tmp_path / "layout")
        layout.add([ROOT, many])
        large = layout.top
    argv = ["unshare", "-m", sys.executable, "-c", FULL]
    done = subprocess.run(
        [*argv, options, large, small],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert message in done.stdout
    assert "stockade image prune" in done.stdout
