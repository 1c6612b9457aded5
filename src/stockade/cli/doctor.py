"""`stockade doctor`: can this machine run devboxes?"""

from __future__ import annotations

import json
import os
from dataclasses import asdict

import click

from stockade.config import load_settings
from stockade.doctor.check import Check
from stockade.doctor.diagnosis import diagnose


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one line a check.")
@click.pass_context
def doctor(context: click.Context, *, as_json: bool) -> None:
    """Look whether this machine can run devboxes.

    One line a check: ok, or what is missing and the command that mends it. Exit status
    1 if something is missing without which no devbox starts.
    """
    failed = False
    for check in diagnose(load_settings(os.environ)):
        failed |= check.required and not check.ok
        click.echo(json.dumps(asdict(check)) if as_json else line(check))
    if failed:
        context.exit(1)


def line(check: Check) -> str:
    """Render one check."""
    if check.ok:
        return f"ok       {check.name}: {check.detail}"
    word = "MISSING" if check.required else "warning"
    return f"{word:<8} {check.name}: {check.detail}; mend it with: {check.remedy}"
