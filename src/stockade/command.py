"""Runs host commands. The only module of the project that starts processes.

Arguments are always lists: no shell sees them.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO

from stockade.errors import CommandError, Unavailable

#: A process that was started.
Process = subprocess.Popen


@dataclass(frozen=True, slots=True)
class Completed:
    """What a finished command left: exit status and both outputs, decoded."""

    status: int
    stdout: str
    stderr: str


def run(
    argv: Sequence[str],
    *,
    stdin: str | None = None,
    timeout: float | None = 60.0,
    check: bool = True,
    pass_fds: Sequence[int] = (),
    env: Mapping[str, str] | None = None,
    cwd: str | None = None,
) -> Completed:
    """Run *argv* to its end and return what it printed.

    *timeout* is in seconds. Raises `CommandError` for a non-zero status when *check*, and
    for a command that overran its time; `Unavailable` when the program is not installed.
    """
    try:
        done = subprocess.run(
            list(argv),
            input=stdin,
            stdin=None if stdin is not None else subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
            pass_fds=tuple(pass_fds),
            env=dict(env) if env is not None else None,
            cwd=cwd,
        )
    except FileNotFoundError:
        raise Unavailable(
            f"{argv[0]} is not installed; `stockade doctor` names the package"
        ) from None
    except subprocess.TimeoutExpired:
        raise CommandError(argv, -1, f"no end within {timeout} s") from None
    if check and done.returncode:
        raise CommandError(argv, done.returncode, done.stderr or done.stdout)
    return Completed(done.returncode, done.stdout, done.stderr)


def spawn(
    argv: Sequence[str],
    *,
    stdin: int | IO[bytes] | None = subprocess.DEVNULL,
    stdout: int | IO[bytes] | None = None,
    stderr: int | IO[bytes] | None = None,
    pass_fds: Sequence[int] = (),
    env: Mapping[str, str] | None = None,
    cwd: str | None = None,
    start_new_session: bool = False,
) -> Process[bytes]:
    """Start *argv* and return at once.

    Raises `Unavailable` when the program is not installed.
    """
    try:
        return subprocess.Popen(
            list(argv),
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            pass_fds=tuple(pass_fds),
            env=dict(env) if env is not None else None,
            cwd=cwd,
            start_new_session=start_new_session,
        )
    except FileNotFoundError:
        raise Unavailable(
            f"{argv[0]} is not installed; `stockade doctor` names the package"
        ) from None
