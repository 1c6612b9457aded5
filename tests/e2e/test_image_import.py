"""Images in layers come in as layouts and archives, and are what they say they are."""

from __future__ import annotations

import json
import os
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from stockade.errors import InvalidRequest
from stockade.runtime.images import Image, ImageStore
from tests.e2e.image_archives import MACHINE, Layout, docker_archive, shell
from tests.e2e.image_store import bring
from tests.e2e.runtime_archives import ROOT, ensure, entry, leftovers
from tests.e2e.runtime_boxes import Boxes

pytestmark = pytest.mark.root

DIRECTORY = tarfile.DIRTYPE
BASE = (
    *ROOT,
    entry("etc/gone", data=b"1"),
    entry("srv", DIRECTORY, mode=0o1777, uid=5, gid=6),
    entry("srv/a", data=b"a"),
    entry("srv/deep", DIRECTORY, mode=0o700),
    entry("srv/deep/b", data=b"b"),
    entry("opt", DIRECTORY, mode=0o755),
    entry("opt/old", data=b"old"),
    entry("lib", tarfile.SYMTYPE, linkname="usr"),
    entry("usr/tool", mode=0o4755, data=b"tool"),
)
CHANGE = (
    entry("etc/.wh.gone"),
    entry("etc/.wh.never-there"),
    entry("srv/new", data=b"new"),
    entry("opt/new", data=b"new"),
    entry("opt/.wh..wh..opq"),
    entry("lib/added", data=b"in usr"),
    entry("usr/linked", tarfile.LNKTYPE, linkname="usr/tool"),
    entry("srv/deep", data=b"a file now"),
)


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore(tmp_path / "data")


def merged(image: Image, command: str) -> str:
    """What a shell of the machine sees in the image, in a mount namespace of its own."""
    lower = ":".join(str(layer) for layer in reversed(image.layers))
    if len(image.layers) == 1:
        mount = f"mount --bind {lower} /mnt"
    else:
        mount = f"mount -t overlay none -o lowerdir={lower} /mnt"
    script = f"set -e; {mount}; cd /mnt; {command}"
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def as_layout(top: Path) -> Path:
    Layout(top / "layout").add([BASE, CHANGE], name="tools:1", Env=["A=b=c"])
    return top / "layout"


def as_tar(top: Path) -> Path:
    layout = Layout(top / "layout")
    layout.add([BASE, CHANGE], name="tools:1", squeeze=False, Env=["A=b=c"])
    return layout.pack(top / "layout.tar")


def as_packed(top: Path) -> Path:
    layout = Layout(top / "layout")
    layout.add([BASE, CHANGE], name="tools:1", Env=["A=b=c"])
    return layout.pack(top / "layout.tar.gz", "w:gz")


def as_docker(top: Path) -> Path:
    return docker_archive(top / "saved.tar", [BASE, CHANGE], ["tools:1"], Env=["A=b=c"])


def as_docker_zstd(top: Path) -> Path:
    subprocess.run(["zstd", "-q", as_docker(top)], check=True)
    return top / "saved.tar.zst"


@pytest.mark.parametrize(
    "make", [as_layout, as_tar, as_packed, as_docker, as_docker_zstd]
)
def test_layers_become_what_they_mean(
    store: ImageStore, tmp_path: Path, make: Callable[[Path], Path]
) -> None:
    image = ensure(store, make(tmp_path))
    assert len(image.layers) == 2
    assert dict(image.env) == {"A": "b=c"}
    assert merged(image, "ls etc") == "passwd\n"
    assert merged(image, "ls opt; cat opt/new") == "new\nnew"
    # A directory that the second layer does not mention is as it was.
    assert merged(image, "stat -c '%a %u %g' srv") == "1777 5 6\n"
    assert merged(image, "ls srv; cat srv/deep") == "a\ndeep\nnew\na file now"
    # A name through a link of a lower layer goes where the link goes.
    assert merged(image, "readlink lib; cat usr/added") == "usr\nin usr"
    assert merged(image, "stat -c '%a %h' usr/linked") == "4755 2\n"
    assert leftovers(tmp_path) == []
    assert store.find("tools:1") == image
    assert store.find(image.digest[:12]) == image


def test_one_image_is_one_whatever_it_comes_in(
    store: ImageStore, tmp_path: Path
) -> None:
    first = ensure(store, as_layout(tmp_path))
    assert ensure(store, as_docker(tmp_path)) == first


def test_images_share_what_they_begin_with(store: ImageStore, tmp_path: Path) -> None:
    layout = Layout(tmp_path / "layout")
    layout.add([BASE, CHANGE], name="one")
    layout.add([BASE, (entry("etc/two", data=b"2"),)], name="two")
    one = bring(store, layout.top, pick="one")
    two = bring(store, layout.top, pick="two")
    assert one.layers[0] == two.layers[0]
    assert one.layers[1] != two.layers[1]
    assert len(list((tmp_path / "data/images/layers").glob("[!.]*"))) == 3
    with pytest.raises(InvalidRequest, match="choose one with --pick: one, two"):
        bring(store, layout.top)
    with pytest.raises(InvalidRequest, match="does not have that image"):
        bring(store, layout.top, pick="three")


def test_of_an_index_the_image_for_this_machine_is_taken(
    store: ImageStore, tmp_path: Path
) -> None:
    layout = Layout(tmp_path / "layout")
    other = {"os": "linux", "architecture": "s390x"}
    ours = {"os": "linux", "architecture": MACHINE}
    layout.add([(*BASE, entry("etc/other", data=b"x"))], platform=other)
    layout.add([BASE], platform=ours)
    assert "other" not in merged(ensure(store, layout.top), "ls etc")
    lonely = Layout(tmp_path / "lonely")
    lonely.add([BASE], platform=other)
    with pytest.raises(InvalidRequest, match="no image that this machine could run"):
        ensure(store, lonely.top)


def test_a_devbox_runs_from_layers(store: ImageStore, tmp_path: Path) -> None:
    base = [*shell(), entry("etc/gone"), entry("srv/full/a"), entry("srv/full/b")]
    step = [
        entry("etc/.wh.gone"),
        entry("srv/full/.wh..wh..opq"),
        entry("srv/full/c"),
        entry("bin/hello", mode=0o755, data=b"#!/bin/sh\necho hello $NAME $PWD\n"),
    ]
    layout = Layout(tmp_path / "layout")
    layout.add([base, step], Env=["NAME=world"], WorkingDir="/srv/full")
    image = ensure(store, layout.top)
    with Boxes(image=image) as boxes:
        done = boxes.run("sh", "-c", "hello; echo * /etc/g*; >made; echo *")
    assert done.stdout == "hello world /srv/full\nc /etc/group\nc made\n"
    assert not (image.layers[1] / "srv/full/made").exists()


def digest_of_a_layer(layout: Layout, manifest: dict) -> None:
    blob = layout.blobs / manifest["layers"][1]["digest"].removeprefix("sha256:")
    blob.write_bytes(blob.read_bytes() + b"\0")


def a_config_that_lies(layout: Layout, manifest: dict) -> None:
    blob = layout.blobs / manifest["config"]["digest"].removeprefix("sha256:")
    blob.write_bytes(blob.read_bytes() + b" ")


def a_diff_that_lies(layout: Layout, manifest: dict) -> None:
    config = json.loads(
        (
            layout.blobs / manifest["config"]["digest"].removeprefix("sha256:")
        ).read_bytes()
    )
    config["rootfs"]["diff_ids"][1] = f"sha256:{'0' * 64}"
    changed = {**manifest, "config": layout.blob(json.dumps(config).encode())}
    layout.index([layout.blob(json.dumps(changed).encode())])


def a_missing_layer(layout: Layout, manifest: dict) -> None:
    (layout.blobs / manifest["layers"][0]["digest"].removeprefix("sha256:")).unlink()


def a_layer_that_is_a_link(layout: Layout, manifest: dict) -> None:
    blob = layout.blobs / manifest["layers"][0]["digest"].removeprefix("sha256:")
    blob.unlink()
    blob.symlink_to("/etc/shadow")


def a_layer_that_is_a_fifo(layout: Layout, manifest: dict) -> None:
    blob = layout.blobs / manifest["layers"][0]["digest"].removeprefix("sha256:")
    blob.unlink()
    os.mkfifo(blob)


def a_digest_that_climbs(layout: Layout, manifest: dict) -> None:
    layout.index([{"digest": "sha256:../../../etc/passwd"}])


def an_index_of_itself(layout: Layout, manifest: dict) -> None:
    layout.index([{"digest": 5}])


def another_kind_of_document(layout: Layout, manifest: dict) -> None:
    (layout.top / "index.json").write_text('{"manifests": ["no", 1, null]}')


def no_json(layout: Layout, manifest: dict) -> None:
    (layout.top / "index.json").write_text("[" * 100_000)


WRONG = [
    digest_of_a_layer,
    a_config_that_lies,
    a_diff_that_lies,
    a_missing_layer,
    a_layer_that_is_a_link,
    a_layer_that_is_a_fifo,
    a_digest_that_climbs,
    an_index_of_itself,
    another_kind_of_document,
    no_json,
]


@pytest.mark.parametrize("spoil", WRONG)
def test_what_is_not_what_it_claims_is_refused_and_leaves_nothing(
    store: ImageStore, tmp_path: Path, spoil: Callable[[Layout, dict], None]
) -> None:
    layout = Layout(tmp_path / "layout")
    spoil(layout, layout.add([BASE, CHANGE]))
    with pytest.raises(InvalidRequest):
        ensure(store, layout.top)
    assert store.names() == {}
    assert leftovers(tmp_path) == []
    assert list((tmp_path / "data/images/layers").glob(".new-*")) == []
