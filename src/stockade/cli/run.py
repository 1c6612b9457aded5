"""`stockade run`: one command in one policed devbox."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from stockade.agent.launch import launch
from stockade.cli.run_options import (
    build_policy,
    parse_env,
    parse_memory,
    parse_mount,
    parse_timeout,
)
from stockade.cli.run_request import RunRequest
from stockade.config import load_settings
from stockade.errors import InvalidRequest
from stockade.policyfile import load_policy


@click.command(
    context_settings={"allow_interspersed_args": False}, no_args_is_help=True
)
@click.option(
    "--allow",
    "hostnames",
    multiple=True,
    metavar="HOST",
    help="Allow a host name, or '*.name' for all below it. Repeatable.",
)
@click.option(
    "--allow-cidr",
    "cidrs",
    multiple=True,
    metavar="CIDR[@PORTS]",
    help="Allow a range of addresses, as in 10.0.0.0/8@5432. Repeatable.",
)
@click.option("--allow-all", is_flag=True, help="Allow every public destination.")
@click.option(
    "--policy",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A policy file (TOML); --allow and --allow-cidr add to it.",
)
@click.option(
    "--image",
    default="default",
    metavar="IMAGE",
    show_default=True,
    help="A stored image, or the path of a rootfs tar.",
)
@click.option(
    "--env",
    "-e",
    multiple=True,
    metavar="NAME[=VALUE]",
    help="Set a variable, or pass one on. Repeatable.",
)
@click.option("--workdir", "-w", metavar="DIR", help="Where the command starts.")
@click.option(
    "--mount",
    "-v",
    "mounts",
    multiple=True,
    metavar="HOST:BOX[:ro]",
    help="Show a directory or file of this machine inside. Repeatable.",
)
@click.option(
    "--user",
    "-u",
    default="root",
    metavar="USER",
    show_default=True,
    help="Who runs the command: a name, or uid[:gid].",
)
@click.option(
    "--sudo",
    "allow_sudo",
    is_flag=True,
    help="Let set-uid programs such as sudo work inside.",
)
@click.option("--memory", "-m", metavar="SIZE", help="Memory limit, as in 512m or 2g.")
@click.option(
    "--cpus",
    type=click.FloatRange(min=0.01),
    metavar="N",
    help="Processor limit, as in 1.5.",
)
@click.option(
    "--timeout",
    metavar="TIME",
    help="End the command after this time (30s, 5m); exit status 124.",
)
@click.option(
    "--flows",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write every flow record to FILE, as JSON lines.",
)
@click.option("--quiet", "-q", is_flag=True, help="Print no summary.")
@click.argument("command", nargs=-1, type=click.UNPROCESSED, required=True)
def run(
    *,
    hostnames: tuple[str, ...],
    cidrs: tuple[str, ...],
    allow_all: bool,
    policy: Path | None,
    image: str,
    env: tuple[str, ...],
    workdir: str | None,
    mounts: tuple[str, ...],
    user: str,
    allow_sudo: bool,
    memory: str | None,
    cpus: float | None,
    timeout: str | None,
    flows: Path | None,
    quiet: bool,
    command: tuple[str, ...],
) -> int:
    r"""Run COMMAND in a devbox that reaches only what it was given.

    Without --allow, --allow-cidr, --allow-all or --policy it reaches nothing. Standard
    input, output and error, signals and the exit status pass through. When the command
    has ended, a summary of what was denied and what was reached goes to standard error.

    \b
      stockade run --allow github.com -- git ls-remote https://github.com/…
      stockade run --policy policy.toml -- ./agent.sh
    """
    if os.geteuid() != 0:
        raise InvalidRequest(
            "stockade run needs root, to make namespaces: sudo stockade run …"
        )
    if workdir is not None and not workdir.startswith("/"):
        raise InvalidRequest(f"--workdir {workdir}: write an absolute path")
    settings = load_settings(os.environ)
    whole = build_policy(
        load_policy(policy) if policy else None,
        allow_all=allow_all,
        hostnames=hostnames,
        cidrs=cidrs,
    )
    request = RunRequest(
        policy=whole,
        policy_id=f"file:{policy}" if policy else "run",
        command=command,
        image=image,
        env=parse_env(env, os.environ),
        workdir=workdir,
        mounts=tuple(parse_mount(text, Path.cwd()) for text in mounts),
        user=user,
        allow_sudo=allow_sudo,
        memory=parse_memory(memory),
        cpus=cpus,
        timeout=parse_timeout(timeout),
        flows=flows,
        terminal=sys.stdin.isatty() and sys.stdout.isatty(),
    )
    launched = launch(settings)
    # Imported while the gateway starts: each takes a tenth of a second.
    from stockade.cli.session import run_session

    return run_session(request, settings, launched, quiet=quiet)
