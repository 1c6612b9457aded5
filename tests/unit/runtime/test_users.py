"""Users are looked up in the image's files, which may say anything."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from stockade.errors import InvalidRequest
from stockade.runtime.bundle import BoxUser
from stockade.runtime.tree import Tree
from stockade.runtime.users import find_account, find_user

PASSWD = """\
root:x:0:0:root:/root:/bin/bash
user:x:1000:1001:User,,,:/home/user:/bin/bash
broken:x:1002
far:x:70000:70000::/home/far:/bin/sh
homeless:x:1003:1003::relative:/bin/sh
daemon:*:1:1:::
"""
GROUP = (
    "root:x:0:\nuser:x:1001:\nstaff:x:50:user,other\nsudo:x:27:user\nbad:x:-3:user\n"
)


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Tree]:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text(PASSWD)
    (tmp_path / "etc/group").write_text(GROUP)
    with Tree(tmp_path) as opened:
        yield opened


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("root", BoxUser("root", 0, 0, (), "/root")),
        ("user", BoxUser("user", 1000, 1001, (27, 50), "/home/user")),
        ("1000", BoxUser("user", 1000, 1001, (27, 50), "/home/user")),
        ("user:staff", BoxUser("user", 1000, 50, (), "/home/user")),
        ("1000:0", BoxUser("user", 1000, 0, (), "/home/user")),
        ("2000", BoxUser("2000", 2000, 0, (), "/")),
        ("2000:2001", BoxUser("2000", 2000, 2001, (), "/")),
        ("homeless", BoxUser("homeless", 1003, 1003, (), "/")),
        ("65535", BoxUser("65535", 65535, 0, (), "/")),
    ],
)
def test_found(tree: Tree, wanted: str, expected: BoxUser) -> None:
    assert find_user(tree, wanted) == expected


@pytest.mark.parametrize(
    "wanted", ["nobody", "broken", "far", "65536", "-1", "0x10", "", "user:none", "1 "]
)
def test_not_found(tree: Tree, wanted: str) -> None:
    with pytest.raises(InvalidRequest, match="the image has no"):
        find_user(tree, wanted)


def test_an_image_without_users_has_numbers(tmp_path: Path) -> None:
    with Tree(tmp_path) as tree:
        assert find_user(tree, "0") == BoxUser("0", 0, 0, (), "/")
        with pytest.raises(InvalidRequest, match="its users are: none"):
            find_user(tree, "someone")


@pytest.mark.parametrize(
    ("name", "uid", "gid", "groups"),
    [
        ("user", 1000, 1001, (27, 50)),
        ("root", 0, 0, ()),
        # No entry, or one of another number: it stays who it is.
        ("new", 1234, 1234, ()),
        ("user", 0, 0, ()),
        ("root", 1000, 1000, ()),
        ("far", 7000, 7000, ()),
    ],
)
def test_an_account_keeps_its_number(
    tree: Tree, name: str, uid: int, gid: int, groups: tuple[int, ...]
) -> None:
    found = find_account(tree, name, uid, "/home/x")
    assert found == BoxUser(name, uid, gid, groups, "/home/x")


def test_files_that_are_none_leave_an_account_its_number(tmp_path: Path) -> None:
    (tmp_path / "etc/passwd").mkdir(parents=True)
    with Tree(tmp_path) as tree:
        found = find_account(tree, "user", 1000, "/home/user")
    assert found == BoxUser("user", 1000, 1000, (), "/home/user")


@pytest.mark.parametrize("uid", [-1, 65536, 1 << 32])
def test_numbers_that_a_devbox_does_not_have(tree: Tree, uid: int) -> None:
    with pytest.raises(InvalidRequest, match="not the number of a user"):
        find_account(tree, "user", uid, "/")
