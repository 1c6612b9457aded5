"""`stockade env`: what clients need to find the server, for a shell to evaluate."""

from __future__ import annotations

import os
import shlex
from dataclasses import replace
from pathlib import Path

import click

from stockade.cli.access import read_access
from stockade.config import load_settings


@click.command()
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="The data directory of the server.",
)
def env(*, data: Path | None) -> None:
    """Print export lines for the official clients: eval "$(stockade env)"."""
    settings = load_settings(os.environ)
    if data is not None:
        settings = replace(settings, data_dir=data.absolute())
    for name, value in read_access(settings.data_dir).variables().items():
        click.echo(f"export {name}={shlex.quote(value)}")
