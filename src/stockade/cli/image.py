"""`stockade image`: the images of this machine."""

from __future__ import annotations

import asyncio
import os
from dataclasses import asdict
from pathlib import Path

import click

from stockade.cli.progress import image_progress
from stockade.cli.show import moment, print_json, print_table
from stockade.config import load_settings
from stockade.errors import InvalidRequest
from stockade.runtime.collecting import Collector, Freed, Stored
from stockade.runtime.images import Image, ImageStore

_SHOWN_DIGITS = 12
_UNITS = ("B", "kB", "MB", "GB", "TB")

_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group()
def image() -> None:
    """Images of this machine: what devboxes start from. Needs root."""


@image.command("import")
@click.argument("path", type=click.Path(path_type=Path))
@click.option(
    "--name", metavar="NAME", help="What to call it, if not as it says itself."
)
@click.option("--pick", metavar="NAME", help="Which one, if there are several in PATH.")
@_json_option
def import_command(
    *, path: Path, name: str | None, pick: str | None, as_json: bool
) -> None:
    """Import PATH: an OCI layout, a docker archive, or a root file system as tar.

    The layout may be a directory or a tar; archives may be compressed with gzip, bzip2,
    xz or zstd.
    """
    store = _store()
    made = asyncio.run(_import(store, path, name, pick))
    found = next(i for i in Collector(store).images() if i.digest == made.digest)
    if as_json:
        print_json(_view(found))
    else:
        click.echo(f"{', '.join(found.names)}  {found.digest[:_SHOWN_DIGITS]}")


async def _import(
    store: ImageStore, path: Path, name: str | None, pick: str | None
) -> Image:
    with image_progress() as progress:
        return await store.import_archive(path, name=name, pick=pick, progress=progress)


@image.command("list")
@_json_option
def list_command(*, as_json: bool) -> None:
    """List the images, newest first."""
    images = Collector(_store()).images()
    if as_json:
        print_json([_view(found) for found in images])
        return
    print_table(
        ("name", "digest", "size", "layers", "created", "used by"),
        (
            (
                ", ".join(found.names),
                found.digest[:_SHOWN_DIGITS],
                _size(found.size),
                found.layers,
                moment(found.created * 1000),
                ", ".join(found.used_by),
            )
            for found in images
        ),
    )


@image.command()
@click.argument("which", metavar="IMAGE")
@_json_option
def rm(*, which: str, as_json: bool) -> None:
    """Remove IMAGE, a name or the beginning of a digest, unless it is used."""
    _show(Collector(_store()).remove(which), as_json=as_json)


@image.command()
@click.option("--all", "every", is_flag=True, help="Those that have a name, too.")
@_json_option
def prune(*, every: bool, as_json: bool) -> None:
    """Remove what nothing uses: images without a name, layers, interrupted imports.

    An image has lost its name when a later one was given it.
    """
    _show(Collector(_store()).prune(every=every), as_json=as_json)


def _store() -> ImageStore:
    if os.geteuid():
        raise InvalidRequest("images belong to root: run it as root, or with sudo")
    return ImageStore(load_settings(os.environ).data_dir)


def _show(freed: Freed, *, as_json: bool) -> None:
    if as_json:
        print_json(asdict(freed))
        return
    for digest in freed.images:
        click.echo(f"removed {digest[:_SHOWN_DIGITS]}")
    click.echo(f"{_size(freed.size)} freed", err=True)


def _view(found: Stored) -> dict[str, object]:
    view = asdict(found)
    view["created"] = round(found.created * 1000)
    return view


def _size(count: float) -> str:
    """A size as people write it."""
    unit = 0
    while count >= 1000 and unit < len(_UNITS) - 1:
        count, unit = count / 1000, unit + 1
    return (
        f"{count:.0f} {_UNITS[unit]}"
        if count >= 10 or not unit
        else (f"{count:.1f} {_UNITS[unit]}")
    )
