"""What the options of `stockade run` mean: texts to values, without IO."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from stockade.errors import HostnameError, InvalidRequest
from stockade.names import HostPattern
from stockade.policy.model import AllowedCidr, NetworkPolicy
from stockade.spec import Mount

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?", re.IGNORECASE)
_TIME = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?")
_PORTS = re.compile(r"(\d+)(?:-(\d+))?(?:/(tcp|udp))?", re.IGNORECASE)
_FACTORS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_MIN_MEMORY = 4 << 20


def parse_cidr(text: str) -> AllowedCidr:
    """Read `CIDR` or `CIDR@PORTS`, ports as in `443`, `8000-8080/tcp,53/udp`."""
    cidr, at, ports = text.partition("@")
    rules = []
    for part in ports.split(",") if at else ():
        match = _PORTS.fullmatch(part.strip())
        if match is None:
            raise InvalidRequest(
                f"--allow-cidr {text}: {part!r} is not a port such as 443, "
                "8000-8080 or 53/udp"
            )
        rule: dict[str, object] = {"port": int(match[1])}
        if match[2]:
            rule["end_port"] = int(match[2])
        if match[3]:
            rule["protocol"] = match[3].upper()
        rules.append(rule)
    return AllowedCidr.from_mapping({"cidr": cidr, "ports": rules}, "--allow-cidr")


def build_policy(
    base: NetworkPolicy | None,
    *,
    allow_all: bool,
    hostnames: Sequence[str],
    cidrs: Sequence[str],
) -> NetworkPolicy:
    """The policy of a run: what the file says, and what the options add to it.

    Without any of them, everything is denied.
    """
    if allow_all and (hostnames or cidrs or base):
        raise InvalidRequest(
            "--allow-all allows everything: it does not go with --policy, --allow or "
            "--allow-cidr"
        )
    policy = base or NetworkPolicy(name="run")
    patterns = dict.fromkeys(policy.allowed_hostnames)
    for text in hostnames:
        try:
            patterns[HostPattern.parse(text)] = None
        except HostnameError as error:
            advice = str(error).replace("allowed_cidrs", "--allow-cidr")
            advice = advice.replace("use allow_all", "use --allow-all")
            raise InvalidRequest(f"--allow: {advice}") from None
    return replace(
        policy,
        allow_all=allow_all or policy.allow_all,
        allow_devbox_to_devbox=allow_all or policy.allow_devbox_to_devbox,
        allowed_hostnames=tuple(patterns),
        allowed_cidrs=(*policy.allowed_cidrs, *map(parse_cidr, cidrs)),
    )


def parse_env(texts: Sequence[str], environ: Mapping[str, str]) -> dict[str, str]:
    """Read `NAME=VALUE`, or `NAME` for the value it has here."""
    values = {}
    for text in texts:
        name, given, value = text.partition("=")
        if not name or "\0" in text:
            raise InvalidRequest(f"--env {text!r}: write NAME=VALUE, or NAME")
        if not given:
            if name not in environ:
                raise InvalidRequest(f"--env {name}: it is not set here")
            value = environ[name]
        values[name] = value
    return values


def parse_mount(text: str, cwd: Path) -> Mount:
    """Read `HOST:BOX` or `HOST:BOX:ro`."""
    parts = text.split(":")
    mode = parts.pop() if len(parts) > 2 and parts[-1] in ("ro", "rw") else "rw"
    if len(parts) != 2 or not all(parts):
        raise InvalidRequest(f"--mount {text}: write HOST:BOX or HOST:BOX:ro")
    source, target = parts
    if not target.startswith("/"):
        raise InvalidRequest(f"--mount {text}: {target} is not an absolute path")
    return Mount(cwd / Path(source), target, mode == "ro")


def parse_memory(text: str | None) -> int | None:
    """Read a size such as `512m` or `2g`; in bytes."""
    if text is None:
        return None
    match = _SIZE.fullmatch(text.strip())
    size = int(float(match[1]) * _FACTORS[match[2].lower()]) if match else 0
    if size < _MIN_MEMORY:
        raise InvalidRequest(f"--memory {text}: write a size of 4m or more, as in 512m")
    return size


def parse_timeout(text: str | None) -> float | None:
    """Read a time such as `90`, `30s`, `5m`; in seconds."""
    if text is None:
        return None
    match = _TIME.fullmatch(text.strip())
    seconds = float(match[1]) * _SECONDS[match[2] or "s"] if match else 0.0
    if not seconds:
        raise InvalidRequest(f"--timeout {text}: write a time as in 30s, 5m or 2h")
    return seconds
