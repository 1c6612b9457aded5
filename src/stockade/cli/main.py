"""The root of the command line.

Commands are imported when they are called.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from stockade import __version__
from stockade.cli.lazy import lazy_group
from stockade.errors import StockadeError

#: The exit status of a command that failed for reasons of ours (as of container tools).
FAILED = 125

_COMMANDS = {
    "run": (
        "stockade.cli.run:run",
        "Run a command in a devbox under a network policy.",
    ),
    "serve": ("stockade.cli.serve:serve", "Run the API server."),
    "env": ("stockade.cli.env:env", "Print how clients find the server."),
    "policy": (
        "stockade.cli.policy:policy",
        "Network policies: files and the server's.",
    ),
    "devbox": ("stockade.cli.devbox:devbox", "Devboxes of the server."),
    "image": ("stockade.cli.image:image", "Images of this machine."),
    "key": ("stockade.cli.accounts:key", "API keys of the server."),
    "account": ("stockade.cli.accounts:account", "Accounts of the server."),
    "doctor": ("stockade.cli.doctor:doctor", "Check what this machine has and lacks."),
}


@click.group(
    cls=lazy_group(_COMMANDS), context_settings={"help_option_names": ["-h", "--help"]}
)
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
