"""The server's network policies: `stockade policy create`, `list`, `get`, and so on."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from stockade.cli.policy_options import (
    changes_of,
    json_option,
    policy_file,
    rule_options,
    wait_options,
    which_policy,
)
from stockade.cli.policy_text import body_of, differences, fields_of
from stockade.cli.remote import Remote, connect, segment
from stockade.cli.run_options import parse_timeout
from stockade.cli.show import moment, plain, print_fields, print_json, print_table
from stockade.errors import InvalidRequest, NotFound, Unavailable
from stockade.policyfile import load_policy

PATH = "/v1/network-policies"
_PREFIX = "npol_"
_POLL = 0.05


@click.command()
@click.argument("name")
@rule_options
@json_option
def create(*, name: str, as_json: bool, **rules: Any) -> None:
    """Create the network policy NAME. Without rules it denies everything."""
    with connect() as remote:
        view = remote.post(PATH, {"name": name, **changes_of(rules)})
    _show(view, as_json=as_json)


@click.command("list")
@click.option("--name", metavar="PART", help="Those with this in their name.")
@json_option
def list_command(*, name: str | None, as_json: bool) -> None:
    """List network policies, newest first."""
    with connect() as remote:
        views = list(remote.pages(PATH, "network_policies", name=name))
    if as_json:
        print_json(views)
        return
    print_table(
        ("id", "name", "allows", "changed"),
        (
            (v["id"], v["name"], _allows(v["egress"]), moment(v["update_time_ms"]))
            for v in views
        ),
    )


@click.command()
@which_policy
@json_option
def get(*, which: str, as_json: bool) -> None:
    """Show the network policy POLICY, an id or a name."""
    with connect() as remote:
        _show(find(remote, which), as_json=as_json)


@click.command()
@which_policy
@click.option("--name", metavar="NAME", help="Another name.")
@rule_options
@click.option("--no-hostnames", is_flag=True, help="Allow no host names any more.")
@click.option("--no-cidrs", is_flag=True, help="Allow no ranges any more.")
@wait_options
@json_option
def update(
    *,
    which: str,
    name: str | None,
    no_hostnames: bool,
    no_cidrs: bool,
    wait: bool,
    timeout: str,
    as_json: bool,
    **rules: Any,
) -> None:
    """Change the network policy POLICY, an id or a name.

    What is not given stays. --allow and --allow-cidr replace the lists.
    """
    changes = changes_of(rules)
    for key, cleared in (
        ("allowed_hostnames", no_hostnames),
        ("allowed_cidrs", no_cidrs),
    ):
        if cleared and key in changes:
            raise InvalidRequest(f"{key}: give entries or clear the list, not both")
        if cleared:
            changes[key] = []
    if name is not None:
        changes["name"] = name
    if not changes:
        raise InvalidRequest("nothing to change: give an option such as --allow")
    seconds = parse_timeout(timeout) or 0.0
    with connect() as remote:
        view = remote.post(_path(find(remote, which)["id"]), changes)
        _show(view, as_json=as_json)
        if wait:
            await_rollout(remote, view["id"], seconds)


@click.command()
@which_policy
@json_option
def delete(*, which: str, as_json: bool) -> None:
    """Delete the network policy POLICY, an id or a name, if no devbox uses it."""
    with connect() as remote:
        view = remote.post(_path(find(remote, which)["id"]) + "/delete")
    if as_json:
        print_json(view)
    else:
        click.echo(f"deleted {view['id']}")


@click.command()
@policy_file
@wait_options
@json_option
def apply(*, path: Path, wait: bool, timeout: str, as_json: bool) -> None:
    """Make the policy on the server what the file says; create it if need be.

    The file's policy is the one of the same name.
    """
    body = body_of(load_policy(path))
    seconds = parse_timeout(timeout) or 0.0
    with connect() as remote:
        found = by_name(remote, str(body["name"]))
        view = remote.post(_path(found["id"]) if found else PATH, body)
        _show(view, as_json=as_json)
        if wait and found:
            await_rollout(remote, view["id"], seconds)


@click.command()
@policy_file
@click.pass_context
def diff(context: click.Context, *, path: Path) -> None:
    """Show what `apply` would change; exit status 1 if anything."""
    body = body_of(load_policy(path))
    with connect() as remote:
        found = by_name(remote, str(body["name"]))
    lines = differences(body_of(found) if found else {}, body)
    for line in lines:
        click.echo(line)
    if lines:
        context.exit(1)


def find(remote: Remote, which: str) -> dict[str, Any]:
    """The policy with this id or name. Raises `NotFound`."""
    if which.startswith(_PREFIX):
        view: dict[str, Any] = remote.get(_path(which))
        return view
    found = by_name(remote, which)
    if found is None:
        raise NotFound(f"there is no network policy {which!r}")
    return found


def by_name(remote: Remote, name: str) -> dict[str, Any] | None:
    """The policy with exactly this name. Raises `InvalidRequest` if there are several."""
    views = remote.pages(PATH, "network_policies", name=name)
    found = [view for view in views if view["name"] == name]
    if len(found) > 1:
        ids = ", ".join(view["id"] for view in found)
        raise InvalidRequest(f"several network policies are named {name!r}: {ids}")
    return found[0] if found else None


def await_rollout(remote: Remote, policy: str, seconds: float) -> None:
    """Wait until every devbox has the latest generation in force, and say so."""
    deadline = time.monotonic() + seconds
    path = f"/v1/stockade/network_policies/{segment(policy)}/rollout"
    while True:
        rollout = remote.get(path)
        wanted, boxes = rollout["generation"], rollout["devboxes"]
        behind = [box for box in boxes if (box["generation"] or 0) < wanted]
        if not behind:
            cut = sum(box["flows_cut"] for box in boxes)
            click.echo(
                f"generation {wanted} is in force in {len(boxes)} devboxes, "
                f"{cut} flows were cut",
                err=True,
            )
            return
        if time.monotonic() > deadline:
            first = behind[0]
            problem = plain(first.get("problem") or "no word of it yet")
            raise Unavailable(
                f"generation {wanted} is not in force in {len(behind)} of "
                f"{len(boxes)} devboxes: {first['devbox_id']}: {problem}"
            )
        time.sleep(_POLL)


def _path(policy: str) -> str:
    return f"{PATH}/{segment(policy)}"


def _show(view: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(view)
    else:
        print_fields(fields_of(view))


def _allows(egress: dict[str, Any]) -> str:
    if egress["allow_all"]:
        return "everything"
    entries = [
        *egress["allowed_hostnames"],
        *(e["cidr"] for e in egress["allowed_cidrs"]),
    ]
    more = f" and {len(entries) - 3} more" if len(entries) > 3 else ""
    return ", ".join(entries[:3]) + more or "nothing"
