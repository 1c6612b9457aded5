"""What is counted, of the agent and its gateways, from outside."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from stockade.host import nft
from stockade.host.netns import Netns
from tests.attacks.namespaces import gateway_namespace
from tests.lab.lab import RUN_DIR
from tests.soak.agent import Agent, Refused

_PROC = Path("/proc")
_RUN_DIRS = (RUN_DIR, Path("/var/lib/stockade"))


@dataclass(frozen=True, slots=True)
class Sample:
    """One moment. *life* is the number of gateways there were before these."""

    seconds: float
    life: int
    values: Mapping[str, float]


async def take(agent: Agent) -> dict[str, float]:
    """Count everything, once there is a gateway to ask."""
    while True:
        try:
            return await _take(agent)
        except (Refused, OSError):  # It was killed just now.
            await asyncio.sleep(0.2)


async def _take(agent: Agent) -> dict[str, float]:
    status = await agent.call("status")
    gateways = agent.gateways()
    family = [agent.pid, *descendants(agent.pid)]
    values: dict[str, float] = {
        "devboxes": status["devboxes"],
        "flows": status["flows"],
        "lookups": status["lookups"],
        "records missed": status["records"]["missed"],
        "processes": len(family),
        "namespaces": len(set(_namespaces(family, agent.pid))),
        "mounts": _mounts(agent.pid),
        "control groups": _named(Path("/sys/fs/cgroup"), agent.pid, 5),
        "files": sum(_named(path, agent.pid, 2) for path in _RUN_DIRS),
        **_network(agent.pid),
    }
    for part, pids in (("gateway", gateways), ("agent", [agent.pid])):
        for key, value in _process(pids).items():
            values[f"{part} {key}"] = value
    return values


def descendants(pid: int) -> list[int]:
    """The children of a process, their children, and so on."""
    offspring: dict[int, list[int]] = {}
    for directory in _PROC.glob("[0-9]*"):
        with contextlib.suppress(OSError):
            stat = (directory / "stat").read_text().rpartition(")")[2].split()
            offspring.setdefault(int(stat[1]), []).append(int(directory.name))
    found = list(offspring.get(pid, ()))
    for child in found:  # Grows meanwhile.
        found += offspring.get(child, ())
    return found


def cpu_seconds(pids: list[int]) -> float:
    """The processor time that processes have used, with that of ended children."""
    total = 0.0
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
            total += sum(map(int, fields[11:15]))
    return total / os.sysconf("SC_CLK_TCK")


def _process(pids: list[int]) -> dict[str, float]:
    """Memory in MiB and descriptors by kind, of all of *pids* together."""
    kinds = ("sockets", "pipes", "other descriptors")
    found: dict[str, float] = dict.fromkeys(("rss", "pss", *kinds, "threads"), 0)
    for pid in pids:
        directory = _PROC / str(pid)
        memory = (directory / "smaps_rollup").read_text()
        for key in ("Rss", "Pss"):
            match = re.search(rf"^{key}:\s+(\d+) kB", memory, re.MULTILINE)
            found[key.lower()] += int(match[1]) / 1024 if match else 0
        for target in _descriptors(directory):
            kind = {"socket": "sockets", "pipe": "pipes"}.get(target.partition(":")[0])
            found[kind or "other descriptors"] += 1
        found["threads"] += sum(1 for _ in (directory / "task").iterdir())
    return found


def _descriptors(directory: Path) -> Iterator[str]:
    for entry in (directory / "fd").iterdir():
        with contextlib.suppress(OSError):
            yield str(entry.readlink())


def _namespaces(family: list[int], agent: int) -> Iterator[str]:
    for pid in family:
        with contextlib.suppress(OSError):
            yield str((_PROC / str(pid) / "ns/net").readlink())
    for target in _descriptors(_PROC / str(agent)):
        if target.startswith("net:"):
            yield target


def _network(agent: int) -> dict[str, float]:
    """What there is in the gateway namespace."""
    held = Netns(os.open(gateway_namespace(agent), os.O_RDONLY))
    try:
        with held.entered():
            listed = nft.ruleset()
            interfaces = [name for _, name in socket.if_nameindex()]
    finally:
        held.close()
    return {
        "rules": sum("rule" in item for item in listed),
        "elements": sum(
            len(item["set"].get("elem", ())) for item in listed if "set" in item
        ),
        "interfaces": sum(name.startswith("sb") for name in interfaces),
    }


def _mounts(agent: int) -> int:
    """How many mounts of our devboxes the agent sees; those of the machine come and go."""
    table = (_PROC / str(agent) / "mountinfo").read_text()
    return sum(f"dbx_soak{agent}" in line for line in table.splitlines())


def _named(directory: Path, agent: int, depth: int) -> int:
    """How many entries below *directory* bear the name of one of our devboxes."""
    found = 0
    if depth and directory.is_dir():
        with contextlib.suppress(OSError):
            for entry in os.scandir(directory):
                if f"dbx_soak{agent}" in entry.name:
                    found += 1
                elif entry.is_dir(follow_symlinks=False):
                    found += _named(Path(entry.path), agent, depth - 1)
    return found
