"""What runtimes say of commands that do not start, and paths as users write them."""

from __future__ import annotations

import pytest

from stockade.agent.boxfiles import resolve
from stockade.agent.inside import Command, NotStarted, explained
from stockade.errors import InvalidRequest, Unavailable
from stockade.hosting import BoxAccount

USER, ROOT = BoxAccount(), BoxAccount("root", 0)
_RUNC = "exec failed: unable to start container process: "


@pytest.mark.parametrize(
    ("said", "status", "message"),
    [
        (
            "executable file `x` not found in $PATH: No such file or directory",
            127,
            "x: no such program",
        ),
        ("open executable: Permission denied", 126, "x: open executable"),
        ("exec: Exec format error", 126, "x: exec: Exec format error"),
        ("chdir `/w`: Not a directory", 126, "cannot work in /w: chdir"),
        (
            f'{_RUNC}exec: "x": executable file not found in $PATH',
            127,
            "x: no such program",
        ),
        (
            f'{_RUNC}exec: "x": stat x: no such file or directory',
            127,
            "x: no such program",
        ),
        (f'{_RUNC}exec: "x": permission denied', 126, "x: exec failed"),
        (
            f'{_RUNC}chdir to cwd ("/w") set in config.json failed: no such file',
            126,
            "cannot work in /w: ",
        ),
    ],
)
def test_a_command_is_to_blame(said: str, status: int, message: str) -> None:
    found = explained(said, Command(("x",), USER, workdir="/w"))
    assert isinstance(found, NotStarted)
    assert found.status == status
    assert str(found).startswith(message)


@pytest.mark.parametrize(
    "said", ["", "fork: Resource temporarily unavailable", "fail startup"]
)
def test_the_machine_is_to_blame(said: str) -> None:
    found = explained(said, Command(("x",), USER))
    assert isinstance(found, Unavailable)
    assert "could not be started" in str(found)


@pytest.mark.parametrize(
    ("path", "account", "expected"),
    [
        ("a", USER, "/home/user/a"),
        ("a/b", ROOT, "/root/a/b"),
        ("~/a", USER, "/home/user/a"),
        ("~", ROOT, "/root"),
        ("~a/b", USER, "/home/user/~a/b"),
        ("/~/a", USER, "/~/a"),
        ("/a", ROOT, "/a"),
        ("-n", USER, "/home/user/-n"),
        ("../x", USER, "/home/user/../x"),
    ],
)
def test_paths_become_absolute(path: str, account: BoxAccount, expected: str) -> None:
    assert resolve(path, account) == expected


@pytest.mark.parametrize("path", ["", "a\0", "\udcff", "x" * 4096, "é" * 2048])
def test_paths_that_are_none(path: str) -> None:
    with pytest.raises(InvalidRequest):
        resolve(path, USER)
