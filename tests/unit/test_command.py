"""Running host commands: what comes back, and what is raised."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from stockade.command import run, spawn
from stockade.errors import CommandError, Unavailable

PYTHON = sys.executable


def test_both_outputs_come_back() -> None:
    code = "import sys; print('out'); print('err', file=sys.stderr)"
    done = run([PYTHON, "-c", code])
    assert (done.status, done.stdout, done.stderr) == (0, "out\n", "err\n")


def test_standard_input_is_what_is_given_or_nothing() -> None:
    assert run(["cat"], stdin="text").stdout == "text"
    assert run(["cat"]).stdout == ""


def test_a_failure_says_what_was_run_and_what_it_said() -> None:
    with pytest.raises(
        CommandError, match=r"sh -c .* failed with status 3: sorry"
    ) as e:
        run(["sh", "-c", "echo sorry >&2; exit 3"])
    assert (e.value.status, e.value.stderr) == (3, "sorry\n")


def test_a_failure_without_words_says_so() -> None:
    with pytest.raises(CommandError, match="printed nothing"):
        run(["false"])


def test_a_failure_may_be_asked_for() -> None:
    assert run(["sh", "-c", "exit 3"], check=False).status == 3


def test_no_shell_sees_the_arguments() -> None:
    assert run(["echo", "$HOME; true"]).stdout == "$HOME; true\n"


def test_octets_that_are_no_text_do_not_fail() -> None:
    assert run(["printf", "\\377"]).stdout == "\ufffd"


def test_a_command_that_takes_too_long_is_ended() -> None:
    with pytest.raises(CommandError, match=r"no end within 0\.1 s"):
        run(["sleep", "30"], timeout=0.1)


def test_a_program_that_is_missing_is_named() -> None:
    with pytest.raises(Unavailable, match="no-such-program is not installed"):
        run(["no-such-program"])
    with pytest.raises(Unavailable, match="no-such-program is not installed"):
        spawn(["no-such-program"])


def test_environment_and_directory_are_the_given_ones(tmp_path: Path) -> None:
    done = run(["sh", "-c", "echo $A; pwd"], env={"A": "b"}, cwd=str(tmp_path))
    assert done.stdout.split() == ["b", str(tmp_path)]


def test_descriptors_are_passed_on_only_when_given() -> None:
    read_end, write_end = os.pipe()
    try:
        os.write(write_end, b"x")
        argv = ["head", "-c1", f"/proc/self/fd/{read_end}"]
        assert run(argv, pass_fds=[read_end]).stdout == "x"
        assert run(argv, check=False).status != 0
    finally:
        os.close(read_end)
        os.close(write_end)


def test_a_started_process_is_its_callers() -> None:
    process = spawn(["sh", "-c", "exit 4"])
    assert process.wait(timeout=10) == 4
