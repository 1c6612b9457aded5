"""The gateway namespace of a running `stockade run`, as root of the machine gets at it."""

from __future__ import annotations

import subprocess
from pathlib import Path


def gateway_namespace(pid: int) -> str:
    """The descriptor by which the agent *pid* holds the gateway namespace."""
    own = str(Path(f"/proc/{pid}/ns/net").readlink())
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = str(entry.readlink())
        except OSError:
            continue
        if target.startswith("net:[") and target != own:
            return str(entry)
    raise LookupError(f"process {pid} holds no gateway namespace")


def tamper(pid: int, script: str) -> None:
    """Run a shell script inside the gateway namespace of the agent *pid*."""
    entered = ["nsenter", f"--net={gateway_namespace(pid)}", "sh", "-ec", script]
    subprocess.run(entered, check=True, capture_output=True, text=True, timeout=10)


def ask(pid: int, script: str) -> str:
    """What a shell script says inside the gateway namespace of the agent *pid*."""
    entered = ["nsenter", f"--net={gateway_namespace(pid)}", "sh", "-ec", script]
    done = subprocess.run(entered, check=True, capture_output=True, text=True)
    return done.stdout
