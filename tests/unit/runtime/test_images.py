"""Which references mean files, and what is found without making anything."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stockade.errors import Unavailable
from stockade.runtime import images
from stockade.runtime.images import ImageStore


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("default", False),
        ("my-image", False),
        ("sha256:abcdef012345", False),
        ("./default", True),
        ("/srv/root", True),
        ("root.tar", True),
        ("root.tar.zst", True),
        ("root.tgz", True),
        ("tar", False),
    ],
)
def test_a_path_is_told_by_its_look(reference: str, expected: bool) -> None:
    assert images.is_path(reference) is expected


def stored(
    store: Path, digest: str, name: str, created: float, schema: int = 1
) -> None:
    place = store / "images" / digest
    (place / "rootfs").mkdir(parents=True)
    manifest = {
        "schema": schema,
        "digest": digest,
        "name": name,
        "created": created,
        "env": {"A": "b"},
        "workdir": "/src",
        "user": None,
    }
    (place / "manifest.json").write_text(json.dumps(manifest))


def test_stored_images_are_found_by_name_and_digest(tmp_path: Path) -> None:
    old, new, other = ("a" * 64, "b" * 64, "b" * 20 + "c" * 44)
    stored(tmp_path, old, "root", 1.0)
    stored(tmp_path, new, "root", 2.0)
    stored(tmp_path, other, "else", 1.5)
    store = ImageStore(tmp_path)
    assert store.names() == {"else": other, "root": new}
    found = store.find("root")
    assert found is not None
    assert found.digest == new
    assert found.layers == (tmp_path / "images" / new / "rootfs",)
    assert (dict(found.env), found.workdir) == ({"A": "b"}, "/src")
    assert store.find("a" * 12) == store.find(old) == store.find(f"sha256:{old}")
    assert store.find("b" * 12) is None, "two of them begin so"
    assert store.find("a" * 11) is None, "too short to be meant"
    assert store.find("*") is None
    assert store.find("default") is None
    assert store.find(str(tmp_path / "missing.tar")) is None


def test_an_image_of_another_version_is_not_guessed_at(tmp_path: Path) -> None:
    stored(tmp_path, "a" * 64, "root", 1.0, schema=3)
    with pytest.raises(Unavailable, match="another version"):
        ImageStore(tmp_path).find("root")


def test_what_is_being_made_is_no_image(tmp_path: Path) -> None:
    stored(tmp_path, f".new-{'a' * 64}-0", "root", 1.0)
    assert ImageStore(tmp_path).names() == {}
