"""Options that the commands about the server's network policies share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from stockade.cli.run_options import parse_cidr

_FIELDS = {
    "allow_all": "allow_all",
    "devbox_to_devbox": "allow_devbox_to_devbox",
    "agent_gateway": "allow_agent_gateway",
    "mcp_gateway": "allow_mcp_gateway",
    "mirrors": "allow_runloop_mirrors",
    "description": "description",
}

_Command = TypeVar("_Command", bound=Callable[..., Any])

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
which_policy = click.argument("which", metavar="POLICY")
policy_file = click.option(
    "-f",
    "--file",
    "path",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A policy file (TOML).",
)


def wait_options(command: _Command) -> _Command:
    """The options that wait for a change to be in force."""
    command = click.option(
        "--timeout",
        default="30s",
        metavar="TIME",
        show_default=True,
        help="How long to --wait.",
    )(command)
    return click.option(
        "--wait",
        is_flag=True,
        help="Return when every devbox has the change in force.",
    )(command)


def rule_options(command: _Command) -> _Command:
    """The options that say what a policy allows."""
    for option in (
        click.option("--description", metavar="TEXT", help="What it is for."),
        click.option(
            "--mirrors/--no-mirrors", default=None, help="Reach package mirrors."
        ),
        click.option(
            "--mcp-gateway/--no-mcp-gateway", default=None, help="Reach MCP servers."
        ),
        click.option(
            "--agent-gateway/--no-agent-gateway",
            default=None,
            help="Reach the agent gateway.",
        ),
        click.option(
            "--devbox-to-devbox/--no-devbox-to-devbox",
            default=None,
            help="Reach tunnels of the account's devboxes.",
        ),
        click.option(
            "--allow-all/--no-allow-all",
            default=None,
            help="Allow every public destination.",
        ),
        click.option(
            "--allow-cidr",
            "cidrs",
            multiple=True,
            metavar="CIDR[@PORTS]",
            help="Allow a range of addresses. Repeatable.",
        ),
        click.option(
            "--allow",
            "hostnames",
            multiple=True,
            metavar="HOST",
            help="Allow a host name, or '*.name'. Repeatable.",
        ),
    ):
        command = option(command)
    return command


def changes_of(rules: dict[str, Any]) -> dict[str, Any]:
    """The body that stands for the options given."""
    changes: dict[str, Any] = {}
    if rules["hostnames"]:
        changes["allowed_hostnames"] = list(rules["hostnames"])
    if rules["cidrs"]:
        changes["allowed_cidrs"] = [parse_cidr(t).to_mapping() for t in rules["cidrs"]]
    for option, field in _FIELDS.items():
        if rules[option] is not None:
            changes[field] = rules[option]
    return changes
