"""The program of a devbox is looked for as execvp(3) would."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from stockade.runtime import program
from stockade.runtime.program import ProgramNotFound
from stockade.runtime.tree import Tree


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Tree]:
    for name in ("usr/bin/tool", "src/run.sh", "opt/plain"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o644 if name == "opt/plain" else 0o755)
    (tmp_path / "bin").symlink_to("usr/bin")
    (tmp_path / "usr/bin/alias").symlink_to("/usr/bin/tool")
    (tmp_path / "usr/bin/outside").symlink_to("/mnt/tools/x")
    with Tree(tmp_path) as opened:
        yield opened


def check(tree: Tree, name: str, path: str, mounts: Sequence[str] = ()) -> None:
    program.check(tree, name, path=path, workdir="/src", mounts=mounts)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("tool", "/none:/bin"),
        ("alias", "/usr/bin"),
        ("/bin/tool", ""),
        ("./run.sh", ""),
        ("../usr/bin/tool", ""),
        ("run.sh", "/usr/bin:"),
        ("run.sh", "."),
        ("plain", "/opt:/usr/bin:/opt"),
    ],
)
def test_found(tree: Tree, tmp_path: Path, name: str, path: str) -> None:
    if name == "plain":
        (tmp_path / "usr/bin/plain").touch(mode=0o755)
    check(tree, name, path)


@pytest.mark.parametrize(
    ("name", "path", "status"),
    [
        ("tool", "/none", 127),
        ("run.sh", "/usr/bin", 127),
        ("/nope", "", 127),
        ("outside", "/bin", 127),
        ("plain", "/opt", 126),
        ("/opt", "", 126),
        ("", "/bin", 126),
    ],
)
def test_refused(tree: Tree, name: str, path: str, status: int) -> None:
    with pytest.raises(ProgramNotFound) as refused:
        check(tree, name, path)
    assert refused.value.status == status


@pytest.mark.parametrize(
    ("name", "path"),
    [("x", "/mnt/tools:/bin"), ("/mnt/tools/x", ""), ("outside", "/bin")],
)
def test_what_mounts_bring_cannot_be_known(tree: Tree, name: str, path: str) -> None:
    check(tree, name, path, ["/mnt/tools"])


def test_a_mount_elsewhere_changes_nothing(tree: Tree) -> None:
    with pytest.raises(ProgramNotFound):
        check(tree, "nope", "/bin", ["/data"])
