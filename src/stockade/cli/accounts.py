"""`stockade account` and `stockade key`: who may use the server, and with which keys."""

from __future__ import annotations

import time
from collections.abc import Mapping

import click

from stockade.cli.policy_options import json_option
from stockade.cli.remote import connect, segment
from stockade.cli.run_options import parse_timeout
from stockade.cli.show import moment, print_json, print_table
from stockade.errors import InvalidRequest

ACCOUNTS = "/v1/stockade/accounts"
KEYS = "/v1/stockade/keys"
_RESOURCES = ("devboxes", "blueprints", "snapshots", "objects", "account")
_LEVELS = ("none", "read", "write")
_RESOURCE_PREFIX, _LEVEL_PREFIX = "RESOURCE_TYPE_", "ACCESS_LEVEL_"


@click.group()
def account() -> None:
    """Accounts of the server: what belongs to one, no other sees."""


@click.group()
def key() -> None:
    """API keys of the account."""


@account.command("create")
@click.argument("name")
@json_option
def create_account(*, name: str, as_json: bool) -> None:
    """Make the account NAME and print its first key: it is not shown again.

    Only a key of the server's first account may do that.
    """
    with connect() as remote:
        made = remote.post(ACCOUNTS, {"name": name})
    if as_json:
        print_json(made)
    else:
        click.echo(made["key"]["key_secret"])
        click.echo(f"stockade: the account is {made['account']['id']}", err=True)


@key.command("create")
@click.option("--name", metavar="NAME", help="A name for it.")
@click.option("--expires", metavar="TIME", help="It is worth nothing after this time.")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    metavar="RESOURCE=LEVEL",
    help="Make a restricted key, as with devboxes=write. Repeatable.",
)
@json_option
def create_key(
    *, name: str | None, expires: str | None, scopes: tuple[str, ...], as_json: bool
) -> None:
    """Make a key and print it: it is not shown again."""
    body: dict[str, object] = {}
    if name is not None:
        body["name"] = name
    seconds = parse_timeout(expires)
    if seconds is not None:
        body["expires_at_ms"] = int((time.time() + seconds) * 1000)
    if scopes:
        body["scopes"] = [parse_scope(text) for text in scopes]
    with connect() as remote:
        made = remote.post("/v1/restricted_keys" if scopes else "/v1/apikeys", body)
    if as_json:
        print_json(made)
    else:
        # Alone on standard output, for a variable to take.
        click.echo(made["key_secret"])
        click.echo(f"stockade: the id is {made['id']}", err=True)


@key.command("list")
@json_option
def list_keys(*, as_json: bool) -> None:
    """List the account's keys, without their secrets."""
    with connect() as remote:
        keys = remote.get(KEYS)["keys"]
    if as_json:
        print_json(keys)
        return
    print_table(
        ("id", "name", "scopes", "created", "expires"),
        (
            (
                found["id"],
                found["name"],
                scopes_text(found.get("scopes")),
                moment(found["create_time_ms"]),
                moment(found.get("expires_at_ms")),
            )
            for found in keys
        ),
    )


@key.command("revoke")
@click.argument("key_id", metavar="KEY")
@json_option
def revoke_key(*, key_id: str, as_json: bool) -> None:
    """Let the key with the id KEY be worth nothing, at once."""
    with connect() as remote:
        revoked = remote.post(f"{KEYS}/{segment(key_id)}/revoke")
    if as_json:
        print_json(revoked)
    else:
        click.echo(f"revoked {key_id}")


def parse_scope(text: str) -> dict[str, str]:
    """Read `devboxes=write` and the like."""
    resource, _, level = text.lower().partition("=")
    if resource not in _RESOURCES or level not in _LEVELS:
        raise InvalidRequest(
            f"--scope {text}: write RESOURCE=LEVEL, with one of"
            f" {', '.join(_RESOURCES)} and one of {', '.join(_LEVELS)}"
        )
    return {
        "resource_type": _RESOURCE_PREFIX + resource.upper(),
        "access_level": _LEVEL_PREFIX + level.upper(),
    }


def scopes_text(scopes: list[Mapping[str, str]] | None) -> str:
    """The reverse of `parse_scope`, for all scopes of a key."""
    if scopes is None:
        return "everything"
    return ", ".join(
        f"{scope['resource_type'].removeprefix(_RESOURCE_PREFIX).lower()}="
        f"{scope['access_level'].removeprefix(_LEVEL_PREFIX).lower()}"
        for scope in scopes
    )
