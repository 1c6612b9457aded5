"""A tree cannot be left, whatever is in it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from stockade.errors import InvalidRequest
from stockade.runtime.tree import Tree


@pytest.fixture
def top(tmp_path: Path) -> Path:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/file").write_text("untouched")
    top = tmp_path / "top"
    (top / "etc").mkdir(parents=True)
    (top / "etc/file").write_text("inside")
    return top


@pytest.fixture
def tree(top: Path) -> Iterator[Tree]:
    with Tree(top) as opened:
        yield opened


def test_links_are_followed_inside_only(tree: Tree, top: Path) -> None:
    (top / "absolute").symlink_to("/etc/file")
    (top / "climbing").symlink_to("../../../etc/file")
    (top / "out").symlink_to("../outside/file")
    assert tree.read("/absolute") == b"inside"
    assert tree.read("/climbing") == b"inside"
    assert tree.read("/out") is None
    assert tree.read("/../outside/file") is None


def test_what_leads_nowhere_is_none(tree: Tree, top: Path) -> None:
    (top / "loop").symlink_to("loop")
    (top / "kernel").symlink_to("/proc/self/exe")
    for path in ("/missing", "/loop", "/kernel", "/etc/file/x"):
        assert tree.status(path) is None
        assert tree.read(path) is None


def test_only_regular_files_of_a_size_are_read(tree: Tree, top: Path) -> None:
    os.mkfifo(top / "fifo")
    (top / "big").write_bytes(b"x" * 100)
    for path, limit in (("/fifo", 10), ("/etc", 10), ("/big", 99)):
        with pytest.raises(InvalidRequest, match="not a regular file"):
            tree.read(path, limit)
    assert tree.read("/big", 100) == b"x" * 100


def test_writing_replaces_and_never_follows(tree: Tree, top: Path) -> None:
    target = top.parent / "outside/file"
    (top / "etc/link").symlink_to(target)
    os.mkfifo(top / "etc/fifo")
    os.link(target, top / "etc/hard")
    for name in ("link", "fifo", "hard", "file", "new"):
        tree.write(f"/etc/{name}", b"ours", mode=0o640)
        path = top / "etc" / name
        assert not path.is_symlink()
        assert path.read_bytes() == b"ours"
        assert path.stat().st_mode & 0o7777 == 0o640
    assert target.read_text() == "untouched"


def test_directories_are_made_where_they_lead(tree: Tree, top: Path) -> None:
    (top / "alias").symlink_to("/etc")
    tree.write("/alias/a/b/c", b"1")
    assert (top / "etc/a/b/c").read_bytes() == b"1"
    made = tree.directory("/alias/a/d")
    assert str(tree.real_path(made)) == "/etc/a/d"
    os.close(made)
    top_again = tree.directory("/")
    assert str(tree.real_path(top_again)) == "/"
    os.close(top_again)


def test_what_cannot_be_a_directory_is_refused(tree: Tree, top: Path) -> None:
    (top / "dangling").symlink_to("/not/there")
    with pytest.raises(InvalidRequest, match="not a directory"):
        tree.directory("/etc/file")
    with pytest.raises(InvalidRequest, match="not a directory"):
        tree.directory("/etc/file/below")
    with pytest.raises(InvalidRequest, match="a link to nothing"):
        tree.directory("/dangling")
    with pytest.raises(InvalidRequest, match="is a directory"):
        tree.write("/etc", b"")


def test_links_are_seen_as_such(tree: Tree, top: Path) -> None:
    (top / "dangling").symlink_to("/not/there")
    assert tree.has_link("/dangling")
    assert not tree.has_link("/etc")
    assert not tree.has_link("/missing")


def test_no_descriptor_is_kept(top: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - one path less open
    with Tree(top) as tree:
        tree.read("/etc/file")
        tree.write("/etc/new", b"")
        tree.has_link("/etc")
        with pytest.raises(InvalidRequest):
            tree.directory("/etc/file")
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
