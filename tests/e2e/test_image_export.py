"""An image goes out as an OCI layout, and comes back as what it was."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stockade.runtime.collecting import Collector
from stockade.runtime.exporting import export
from stockade.runtime.images import Image, ImageStore
from tests.e2e.image_archives import Layout
from tests.e2e.image_store import bring
from tests.e2e.runtime_archives import ROOT, archive, ensure, entry
from tests.e2e.test_image_import import BASE, CHANGE, merged

pytestmark = pytest.mark.root

CAPABILITY = b"\x01\x00\x00\x02\x00\x20" + b"\x00" * 14
LOOK = "find . -path ./proc -prune -o -printf '%p %y %m %U %G %n %s %l %T@\\n' | sort"


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore(tmp_path / "data")


def out(store: ImageStore, image: Image, target: Path) -> Path:
    target.mkdir()
    export(image, store.directory, target, lambda: None)
    return target


def listing(image: Image) -> list[str]:
    """What is in an image; directories' link counts and sizes are the file system's."""
    lines = []
    for line in merged(image, LOOK).splitlines():
        path, kind, *facts = line.split(" ")
        lines.append(" ".join((path, kind, *(facts[:3] if kind == "d" else facts))))
    return lines


def test_it_comes_back_as_the_layers_that_are_there(
    store: ImageStore, tmp_path: Path
) -> None:
    layout = Layout(tmp_path / "layout")
    layout.add([BASE, CHANGE], name="tools", Env=["A=b"], User="user", Cmd=["x", "y"])
    image = bring(store, layout.top)
    back = bring(store, out(store, image, tmp_path / "out"), name="back")
    assert back.layers == image.layers
    assert (back.env, back.user, back.command) == ({"A": "b"}, "user", ("x", "y"))


def test_elsewhere_it_is_the_same(store: ImageStore, tmp_path: Path) -> None:
    layout = Layout(tmp_path / "layout")
    granted = {"SCHILY.xattr.security.capability": CAPABILITY.decode()}
    last = [*CHANGE, entry("usr/ping", pax_headers=granted), entry(".wh.lib")]
    layout.add([BASE, CHANGE, last[-2:]])
    image = bring(store, layout.top)
    elsewhere = ImageStore(tmp_path / "elsewhere")
    there = bring(elsewhere, out(store, image, tmp_path / "out"))
    assert listing(there) == listing(image)
    assert any("srv/deep f" in line for line in listing(there)), (
        "the replaced directory"
    )
    assert "lib l" not in " ".join(listing(there))
    ping = there.layers[-1] / "usr/ping"
    assert os.getxattr(ping, "security.capability") == CAPABILITY


def test_a_root_file_system_is_not_copied_for_what_is_built_on_it(
    store: ImageStore, tmp_path: Path
) -> None:
    base = ensure(store, archive(tmp_path / "base.tar", *ROOT))
    back = bring(store, out(store, base, tmp_path / "out"), name="back")
    assert back.layers == base.layers
    digest = base.digest
    del base
    collector = Collector(store)
    assert collector.prune(every=True).images == (), "the lease covers its layers"
    assert back.lease is not None
    back.lease.close()
    assert collector.remove("back").images == (back.digest,)
    assert collector.remove("base").images == (digest,)
    # What was remembered of it leads nowhere now, and hinders nothing.
    again = bring(store, tmp_path / "out", name="back")
    assert (again.layers[0] / "etc/passwd").exists()
    assert len(list((store.directory / "aliases").iterdir())) == 1
    collector.prune()
    assert list((store.directory / "aliases").iterdir()) == []


def test_what_was_written_for_builds_goes_with_its_image(
    store: ImageStore, tmp_path: Path
) -> None:
    image = ensure(store, archive(tmp_path / "base.tar", *ROOT))
    bases = tmp_path / "data/bases"
    bases.mkdir()
    out(store, image, bases / image.digest)
    (bases / f".old-{image.digest}-0").mkdir()
    Collector(store).prune()
    assert [path.name for path in bases.iterdir()] == [image.digest]
    del image
    Collector(store).prune(every=True)
    assert list(bases.iterdir()) == []
