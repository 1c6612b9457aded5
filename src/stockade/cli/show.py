"""What the server said, for people and for programs."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import click

# Names and texts come from whoever made them, and a terminal obeys what it is sent.
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def plain(value: object) -> str:
    """A value on one line, with nothing in it that a terminal would obey."""
    return _UNPRINTABLE.sub("?", "" if value is None else str(value))


def print_json(value: object) -> None:
    """Print a value for programs."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(titles: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows under titles; not cut short when nobody looks at it."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for title in titles:
        table.add_column(title, overflow="fold", no_wrap=title == "id")
    for row in rows:
        table.add_row(*(Text(plain(cell)) for cell in row))
    terminal = sys.stdout.isatty()
    Console(width=None if terminal else 200, highlight=False).print(table)


def print_fields(fields: Mapping[str, object]) -> None:
    """Print one thing, a field a line; a list has a line for each entry."""
    width = max(map(len, fields), default=0)
    for name, value in fields.items():
        values = value if isinstance(value, list | tuple) else [value]
        shown = [text for item in values if (text := plain(item))] or ["-"]
        click.echo(f"{name:<{width}}  {shown[0]}")
        for text in shown[1:]:
            click.echo(f"{'':<{width}}  {text}")


def moment(milliseconds: Any) -> str:
    """A time as people write it, in UTC."""
    if not isinstance(milliseconds, int | float):
        return ""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime(
        "%Y-%m-%d %H:%M:%SZ"
    )
