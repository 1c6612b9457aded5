"""The life of a devbox from the command line: create, list, suspend, end."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

import click

from stockade.cli.policies import find
from stockade.cli.policy_options import json_option
from stockade.cli.remote import Remote, connect, segment
from stockade.cli.run_options import parse_env, parse_timeout
from stockade.cli.show import moment, plain, print_fields, print_json, print_table
from stockade.errors import InvalidRequest, StockadeError, Unavailable

PATH = "/v1/devboxes"
SNAPSHOTS = f"{PATH}/disk_snapshots"
_SIZES = "X_SMALL SMALL MEDIUM LARGE X_LARGE XX_LARGE".split()
_STATES = (
    "queued provisioning initializing running suspending suspended resuming failure"
    " shutdown"
).split()
# The server holds a long poll for at most 30 seconds.
_HOLD = 25.0
_SNAPSHOT_POLL = 0.25

which_devbox = click.argument("devbox", metavar="DEVBOX")
_timeout = click.option(
    "--timeout",
    default="2m",
    metavar="TIME",
    show_default=True,
    help="How long to wait.",
)
_no_wait = click.option("--no-wait", is_flag=True, help="Return at once.")


class _Failed(StockadeError):
    """A devbox came to another end than it was asked to."""


@click.command()
@click.option("--name", metavar="NAME", help="A name for it.")
@click.option("--policy", metavar="POLICY", help="Its network policy, an id or a name.")
@click.option("--snapshot", metavar="ID", help="Start with the disk of a snapshot.")
@click.option("--blueprint", metavar="ID", help="Start from a blueprint.")
@click.option(
    "-e",
    "--env",
    multiple=True,
    metavar="NAME[=VALUE]",
    help="Set a variable, or pass one on. Repeatable.",
)
@click.option(
    "--metadata",
    multiple=True,
    metavar="KEY=VALUE",
    help="Attach metadata. Repeatable.",
)
@click.option("--size", type=click.Choice(_SIZES), help="Processor, memory and disk.")
@click.option(
    "--launch-command",
    "launch_commands",
    multiple=True,
    metavar="COMMAND",
    help="Run at every start, before it counts as running. Repeatable.",
)
@click.option("--keep-alive", metavar="TIME", help="End it after this time.")
@_no_wait
@_timeout
@json_option
def create(
    *,
    no_wait: bool,
    timeout: str,
    as_json: bool,
    policy: str | None,
    **options: Any,
) -> None:
    """Create a devbox and wait until it runs; prints its id."""
    body, launch = _parameters(options)
    with connect() as remote:
        if policy is not None:
            launch["network_policy_id"] = find(remote, policy)["id"]
        view = remote.post(PATH, {**body, "launch_parameters": launch})
        if not no_wait:
            try:
                view = await_status(remote, view["id"], "running", timeout)
            except BaseException:
                # Who gives up has to know what to look at, or to end.
                click.echo(view["id"], err=True)
                raise
    if as_json:
        print_json(view)
    else:
        click.echo(view["id"])


def _parameters(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The body that stands for the options of `create`, and its launch parameters."""
    metadata = {}
    for text in options["metadata"]:
        key, given, value = text.partition("=")
        if not key or not given:
            raise InvalidRequest(f"--metadata {text!r}: write KEY=VALUE")
        metadata[key] = value
    body = {
        "name": options["name"],
        "snapshot_id": options["snapshot"],
        "blueprint_id": options["blueprint"],
        "environment_variables": parse_env(options["env"], os.environ),
        "metadata": metadata,
    }
    seconds = parse_timeout(options["keep_alive"])
    launch = {
        "resource_size_request": options["size"],
        "launch_commands": list(options["launch_commands"]),
        "keep_alive_time_seconds": int(seconds) if seconds else None,
    }
    return (
        {key: value for key, value in body.items() if value},
        {key: value for key, value in launch.items() if value},
    )


@click.command("list")
@click.option("--status", type=click.Choice(_STATES), help="Those in this state.")
@click.option("--all", "show_all", is_flag=True, help="Those that have ended, too.")
@json_option
def list_command(*, status: str | None, show_all: bool, as_json: bool) -> None:
    """List devboxes, newest first."""
    with connect() as remote:
        views = list(remote.pages(PATH, "devboxes", status=status))
    if not show_all and status is None:
        views = [v for v in views if v["status"] not in ("shutdown", "failure")]
    if as_json:
        print_json(views)
        return
    print_table(
        ("id", "name", "status", "policy", "created"),
        (
            (
                v["id"],
                v.get("name"),
                v["status"],
                v["launch_parameters"].get("network_policy_id"),
                moment(v["create_time_ms"]),
            )
            for v in views
        ),
    )


@click.command()
@which_devbox
@json_option
def get(*, devbox: str, as_json: bool) -> None:
    """Show the devbox DEVBOX."""
    with connect() as remote:
        show_devbox(remote.get(devbox_path(devbox)), as_json=as_json)


@click.command()
@which_devbox
@_no_wait
@_timeout
@json_option
def suspend(*, devbox: str, no_wait: bool, timeout: str, as_json: bool) -> None:
    """End the processes of DEVBOX and keep its disk."""
    _change(
        devbox, "suspend", None if no_wait else "suspended", timeout, as_json=as_json
    )


@click.command()
@which_devbox
@_no_wait
@_timeout
@json_option
def resume(*, devbox: str, no_wait: bool, timeout: str, as_json: bool) -> None:
    """Start the suspended devbox DEVBOX again."""
    _change(devbox, "resume", None if no_wait else "running", timeout, as_json=as_json)


@click.command()
@which_devbox
@click.option("--force", is_flag=True, help="Even while a snapshot is being made.")
@json_option
def shutdown(*, devbox: str, force: bool, as_json: bool) -> None:
    """End DEVBOX and delete its disk."""
    with connect() as remote:
        query = "?force=true" if force else ""
        view = remote.post(f"{devbox_path(devbox)}/shutdown{query}")
    show_devbox(view, as_json=as_json)


@click.command()
@which_devbox
@click.option("--name", metavar="NAME", help="A name for the snapshot.")
@_timeout
@json_option
def snapshot(*, devbox: str, name: str | None, timeout: str, as_json: bool) -> None:
    """Save the disk of DEVBOX; prints the id of the snapshot."""
    deadline = time.monotonic() + (parse_timeout(timeout) or 0.0)
    with connect() as remote:
        body = {"name": name} if name else {}
        view = remote.post(f"{devbox_path(devbox)}/snapshot_disk_async", body)
        path = f"{SNAPSHOTS}/{segment(view['id'])}/status"
        while (state := remote.get(path))["status"] == "in_progress":
            if time.monotonic() > deadline:
                raise Unavailable(f"{view['id']} is not complete yet")
            time.sleep(_SNAPSHOT_POLL)
    if state["status"] != "complete":
        raise _Failed(f"{view['id']}: {plain(state.get('error_message'))}")
    if as_json:
        print_json(state["snapshot"])
    else:
        click.echo(view["id"])


def _change(
    devbox: str, verb: str, status: str | None, timeout: str, *, as_json: bool
) -> None:
    with connect() as remote:
        view = remote.post(f"{devbox_path(devbox)}/{verb}")
        if status is not None:
            view = await_status(remote, devbox, status, timeout)
    show_devbox(view, as_json=as_json)


def await_status(
    remote: Remote, devbox: str, status: str, timeout: str
) -> dict[str, Any]:
    """Wait until a devbox is in a state. Raises when it ends, or when it takes longer."""
    deadline = time.monotonic() + (parse_timeout(timeout) or 0.0)
    while True:
        hold = min(_HOLD, max(0.1, deadline - time.monotonic()))
        view: dict[str, Any] | None = remote.post(
            f"{devbox_path(devbox)}/wait_for_status",
            {"statuses": [status, "failure", "shutdown"], "timeout_seconds": hold},
            seconds=hold + 10.0,
            accepted=frozenset({408}),
        )
        if view is not None and view["status"] == status:
            return view
        if view is not None:
            raise _Failed(
                f"{devbox}: {view['status']}"
                f" ({view.get('failure_reason') or view.get('shutdown_reason')}); see"
                f" stockade devbox logs {devbox}"
            )
        if time.monotonic() > deadline:
            raise Unavailable(f"{devbox} is not {status} yet")


def devbox_path(devbox: str) -> str:
    """The path of a devbox in the API."""
    return f"{PATH}/{segment(devbox)}"


def show_devbox(view: Mapping[str, Any], *, as_json: bool) -> None:
    """Print a devbox for people, or for programs."""
    if as_json:
        print_json(view)
        return
    launch = view["launch_parameters"]
    metadata = [f"{key}={value}" for key, value in view["metadata"].items()]
    print_fields(
        {
            "id": view["id"],
            "name": view.get("name"),
            "status": view["status"],
            "reason": view.get("failure_reason") or view.get("shutdown_reason"),
            "policy": launch.get("network_policy_id"),
            "size": launch.get("resource_size_request"),
            "snapshot": view.get("snapshot_id"),
            "metadata": metadata,
            "created": moment(view["create_time_ms"]),
            "ended": moment(view.get("end_time_ms")),
        }
    )
