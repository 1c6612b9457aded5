"""Groups of commands whose modules are imported when one of them is called.

`stockade run` has no time to read what it does not need.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping

import click


class LazyGroup(click.Group):
    """A group with commands that are known by module and attribute, besides its own.

    *lazy* has `name: ("module:attribute", "one line of help")`.
    """

    lazy: Mapping[str, tuple[str, str]] = {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of the commands, those for people."""
        return [*super().list_commands(ctx), *self.lazy]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command."""
        if cmd_name not in self.lazy:
            return super().get_command(ctx, cmd_name)
        module, _, attribute = self.lazy[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)  # noqa: S101 - ours, by convention
        return command

    def format_commands(
        self, ctx: click.Context, formatter: click.HelpFormatter
    ) -> None:
        """List the commands without importing them."""
        rows = []
        for name in self.list_commands(ctx):
            own = self.commands.get(name)
            text = own.get_short_help_str() if own else self.lazy[name][1]
            rows.append((name, text))
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def lazy_group(lazy: Mapping[str, tuple[str, str]]) -> type[LazyGroup]:
    """A kind of group that has *lazy*."""
    return type("LazyCommands", (LazyGroup,), {"lazy": lazy})
