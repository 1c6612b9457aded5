"""`stockade devbox`: the devboxes of the server."""

from __future__ import annotations

import click

from stockade.cli.lazy import lazy_group

_LAZY = {
    "create": ("stockade.cli.devbox_life:create", "Create a devbox."),
    "list": ("stockade.cli.devbox_life:list_command", "List devboxes."),
    "get": ("stockade.cli.devbox_life:get", "Show a devbox."),
    "exec": ("stockade.cli.devbox_exec:exec_command", "Run a command in a devbox."),
    "shell": ("stockade.cli.devbox_exec:shell", "Work in a devbox."),
    "logs": ("stockade.cli.devbox_files:logs", "Show what happened in a devbox."),
    "cp": ("stockade.cli.devbox_files:cp", "Copy a file into or out of a devbox."),
    "suspend": ("stockade.cli.devbox_life:suspend", "Stop a devbox, keep its disk."),
    "resume": ("stockade.cli.devbox_life:resume", "Start a suspended devbox again."),
    "shutdown": ("stockade.cli.devbox_life:shutdown", "End a devbox for good."),
    "snapshot": ("stockade.cli.devbox_life:snapshot", "Save the disk of a devbox."),
}


@click.group(cls=lazy_group(_LAZY))
def devbox() -> None:
    """Devboxes of the server: create them, work in them, end them."""
