"""`stockade devbox exec` and `shell`: commands in a devbox of the server."""

from __future__ import annotations

import shlex
import sys
from typing import NoReturn

import click

from stockade.cli.devbox_life import devbox_path, which_devbox
from stockade.cli.execution import Attached, run_attached
from stockade.cli.remote import connect, segment
from stockade.cli.terminal import raw_terminal, window_size
from stockade.errors import InvalidRequest

# The terminal is made inside, by script(1), which every Debian and Ubuntu has.
_SHELL = (
    "if command -v script >/dev/null; then"
    " exec script -qefc 'stty cols {columns} rows {rows}; TERM={term} exec bash -l'"
    " /dev/null; fi; exec bash -il"
)


@click.command("exec", context_settings={"allow_interspersed_args": False})
@click.option("-i", "--stdin", is_flag=True, help="Pass standard input on.")
@which_devbox
@click.argument("command", nargs=-1, type=click.UNPROCESSED, required=True)
def exec_command(*, stdin: bool, devbox: str, command: tuple[str, ...]) -> NoReturn:
    """Run COMMAND in DEVBOX, in a login shell; ends with its exit status.

    One word is a line for the shell; several are a command and its arguments.
    """
    line = command[0] if len(command) == 1 else shlex.join(command)
    with connect() as remote:
        status = run_attached(
            remote, devbox_path(devbox), line, Attached(read_input=stdin)
        )
    sys.exit(status)


@click.command()
@which_devbox
def shell(*, devbox: str) -> NoReturn:
    """Work in DEVBOX: a shell with a terminal.

    The size of the terminal is that at the start. Ends with the shell's exit status.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise InvalidRequest(
            "stockade devbox shell needs a terminal; use: stockade devbox exec -i "
            f"{segment(devbox)} bash"
        )
    columns, rows = window_size()
    line = _SHELL.format(columns=columns, rows=rows, term="xterm-256color")
    with connect() as remote, raw_terminal(sys.stdin.fileno()):
        status = run_attached(
            remote, devbox_path(devbox), line, Attached(read_input=True, keys=True)
        )
    sys.exit(status)
