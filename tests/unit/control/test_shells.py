"""Named shells, by the bash of this machine: what stays, what does not, who waits."""

from __future__ import annotations

import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stockade.control.shells import in_named_shell, state_file
from stockade.errors import InvalidRequest

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def names() -> Iterator[tuple[str, str]]:
    """Two names that nobody else uses, whose files are taken away."""
    found = (f"one {uuid.uuid4()}", f"two/$x '{uuid.uuid4()}")
    yield found
    for name in found:
        for suffix in ("", ".lock"):
            Path(f"{state_file(name)}{suffix}").unlink(missing_ok=True)


def run(name: str, command: str) -> tuple[int, str]:
    script = in_named_shell(name, command)
    done = subprocess.run(
        ("bash", "-c", script), capture_output=True, text=True, check=False, timeout=30
    )
    assert done.stderr == ""
    return done.returncode, done.stdout


def test_a_shell_goes_on_where_it_was(names: tuple[str, str]) -> None:
    one, two = names
    assert run(one, "cd /usr; export A='a b'; b=$'c\nd'; f() { echo \"f $1\"; }") == (
        0,
        "",
    )
    assert run(one, 'pwd; echo "$A"; echo "$b"; f x') == (0, "/usr\na b\nc\nd\nf x\n")
    assert run(one, "sh -c 'echo \"$A\"'") == (0, "a b\n")
    assert run(two, 'echo "[$A]"')[1] == "[]\n"
    # However it ends, and whatever it is.
    assert run(one, "cd /; exit 3") == (3, "")
    assert run(one, "pwd; false") == (1, "/\n")
    assert run(one, "echo 'quoted \"'; echo \"it's\"") == (0, "quoted \"\nit's\n")


def test_commands_of_one_shell_take_turns(names: tuple[str, str]) -> None:
    one, two = names
    began = time.monotonic()
    started = [
        subprocess.Popen(("bash", "-c", in_named_shell(name, "sleep 0.4; n=$((n+1))")))
        for name in (one, one, two)
    ]
    assert [process.wait(30) for process in started] == [0, 0, 0]
    assert time.monotonic() - began >= 0.8
    assert run(one, "echo $n") == (0, "2\n")
    # What is left in the background keeps nobody waiting.
    began = time.monotonic()
    run(two, "sleep 20 >/dev/null 2>&1 & left=$!")
    assert run(two, "kill $left; echo on")[1].endswith("on\n")
    assert time.monotonic() - began < 15


@pytest.mark.parametrize("name", ["", "x" * 257])
def test_a_name_is_short_and_not_empty(name: str) -> None:
    with pytest.raises(InvalidRequest, match="shell_name"):
        in_named_shell(name, "true")
