"""`stockade devbox cp` and `logs`: what comes out of a devbox besides output."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import click
import httpx2

from stockade.cli.devbox_life import devbox_path, which_devbox
from stockade.cli.policy_options import json_option
from stockade.cli.remote import Remote, connect
from stockade.cli.show import moment, plain, print_json
from stockade.errors import InvalidRequest

_CHUNK = 1 << 20
# As long as the official client waits.
_TRANSFER = httpx2.Timeout(600.0, connect=5.0)


@click.command()
@click.argument("source")
@click.argument("target")
def cp(*, source: str, target: str) -> None:
    """Copy a file: SOURCE or TARGET is DEVBOX:PATH, the other a file here, or `-`.

    A PATH that is not absolute is below the home of the devbox's user.
    """
    there, here = _place(source), _place(target)
    if (there is None) == (here is None):
        raise InvalidRequest("one of SOURCE and TARGET is in a devbox: DEVBOX:PATH")
    with connect() as remote:
        if there is not None:
            _download(remote, *there, target)
        elif here is not None:
            _upload(remote, source, *here)


def _place(text: str) -> tuple[str, str] | None:
    """The devbox and the path that *text* names, if it does."""
    devbox, colon, path = text.partition(":")
    if not colon or "/" in devbox or not devbox:
        return None
    if not path:
        raise InvalidRequest(f"{text}: write DEVBOX:PATH")
    return devbox, path


def _download(remote: Remote, devbox: str, path: str, target: str) -> None:
    file = Path(target)
    if file.is_dir():
        file /= Path(path).name
    with (
        remote.stream(
            "POST",
            f"{devbox_path(devbox)}/download_file",
            json={"path": path},
            timeout=_TRANSFER,
        ) as response,
        _written(file if target != "-" else None) as output,
    ):
        for chunk in response.iter_bytes(_CHUNK):
            output.write(chunk)


@contextlib.contextmanager
def _written(path: Path | None) -> Iterator[BinaryIO]:
    """A file that is there when it is whole; None is standard output."""
    if path is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    if path.exists() and not path.is_file():
        # A device or a pipe is written to, not replaced.
        with path.open("wb") as file:
            yield file
        return
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as partial:
            try:
                yield partial  # type: ignore[misc]
            except BaseException:
                Path(partial.name).unlink()
                raise
        mask = os.umask(0)
        os.umask(mask)
        Path(partial.name).chmod(0o666 & ~mask)
        Path(partial.name).replace(path)
    except OSError as error:
        raise InvalidRequest(f"{path}: {error.strerror}") from None


def _upload(remote: Remote, source: str, devbox: str, path: str) -> None:
    if path.endswith("/"):
        path += Path(source).name
    with (
        _read(source) as file,
        remote.stream(
            "POST",
            f"{devbox_path(devbox)}/upload_file",
            data={"path": path},
            files={"file": (Path(path).name, file)},
            timeout=_TRANSFER,
        ),
    ):
        pass


@contextlib.contextmanager
def _read(source: str) -> Iterator[BinaryIO]:
    """A file to read; `-` is standard input."""
    if source == "-":
        yield sys.stdin.buffer
        return
    try:
        file = Path(source).open("rb")  # noqa: SIM115 - closed by `with file`
    except OSError as error:
        raise InvalidRequest(f"{source}: {error.strerror}") from None
    with file:
        yield file


@click.command()
@which_devbox
@click.option("--execution", metavar="ID", help="Those of one execution.")
@json_option
def logs(*, devbox: str, execution: str | None, as_json: bool) -> None:
    """Show the logs of DEVBOX."""
    with connect() as remote:
        entries = remote.get(f"{devbox_path(devbox)}/logs", execution_id=execution)
    if as_json:
        print_json(entries["logs"])
        return
    for entry in entries["logs"]:
        text = entry.get("message") or entry.get("cmd") or ""
        if entry.get("exit_code") is not None:
            text = f"{text} (exit status {entry['exit_code']})".strip()
        click.echo(f"{moment(entry['timestamp_ms'])}  {entry['source']}  {plain(text)}")
