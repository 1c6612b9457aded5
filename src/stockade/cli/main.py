"""The root of the command line.

Commands are imported when they are called: `stockade run` has no time to read what it
does not need.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from stockade import __version__
from stockade.errors import StockadeError

#: The exit status of a command that failed for reasons of ours (as of container tools).
FAILED = 125

_COMMANDS = {
    "run": ("stockade.cli.run", "Run a command in a devbox under a network policy."),
    "policy": ("stockade.cli.policy", "Test and lint policy files."),
    "doctor": ("stockade.cli.doctor", "Check what this machine has and lacks."),
}


class _Lazy(click.Group):
    """A group whose commands are imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of the commands, those for people."""
        del ctx
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command."""
        del ctx
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(_COMMANDS[cmd_name][0])
        command = getattr(module, cmd_name)
        assert isinstance(command, click.Command)  # noqa: S101 - ours, by convention
        return command

    def format_commands(
        self, ctx: click.Context, formatter: click.HelpFormatter
    ) -> None:
        """List the commands without importing them."""
        rows = [(name, _COMMANDS[name][1]) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="stockade")
def cli() -> None:
    """Devboxes for AI agents on your own machine, and what each may reach."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit.

    An error raised on purpose is one message on standard error and exit status 125;
    wrong usage is 2.
    """
    try:
        status = cli.main(arguments, prog_name="stockade", standalone_mode=False)
    except click.exceptions.Exit as end:
        status = end.exit_code
    except click.ClickException as error:
        error.show()
        status = error.exit_code
    except click.Abort:
        status = 130
    except StockadeError as error:
        click.echo(f"stockade: {error}", err=True)
        status = FAILED
    sys.exit(status if isinstance(status, int) else 0)
