"""Our own way: a gateway with devboxes of the benchmark's."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bench.far import NAME
from bench.ways import Way, client
from tests.lab import Lab

ALL: Mapping[str, Any] = {"name": "all", "allow_all": True}
BY_NAME: Mapping[str, Any] = {"name": "by name", "allowed_hostnames": [NAME]}
BY_RANGE: Mapping[str, Any] = {
    "name": "by range",
    "allowed_cidrs": [{"cidr": "203.0.113.0/24"}],
}
#: As many names as a policy may have.
MANY_NAMES = 1_000


def by_many_names(count: int = MANY_NAMES, kind: str = "host") -> Mapping[str, Any]:
    """A policy of so many names, that of the benchmark among them."""
    names = [f"{kind}{number}.example" for number in range(count - 2)]
    return {"name": f"{count} names", "allowed_hostnames": [*names, NAME, f"*.{NAME}"]}


class Held:
    """A gateway that is held by another process."""

    def __init__(self, process: subprocess.Popen[str], ways: Sequence[Way]) -> None:
        self._process = process
        self.ways = tuple(ways)

    @property
    def way(self) -> Way:
        """That of the first devbox."""
        return self.ways[0]

    def call(self, op: str, **fields: Any) -> dict[str, Any]:
        """Ask the holder for something, and wait until it is done."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"op": op, **fields}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the gateway is gone while asked to {op}")
        answer: dict[str, Any] = json.loads(line)
        return answer


@contextlib.contextmanager
def gateway(
    lab: Lab,
    *policies: Mapping[str, Any],
    idle: int = 0,
    others: Sequence[Mapping[str, Any]] = (),
    lanes: int = 1,
    workers: int = 1,
    name: str = "",
) -> Iterator[Held]:
    """A gateway with a devbox for each of *policies*, and *idle* others.

    These are under the policies *others* in turn, or under the first.
    """
    with contextlib.ExitStack() as stack:
        pids = [stack.enter_context(client()) for _ in policies]
        told = {
            "devboxes": [
                {"pid": pid, "policy": dict(policy)}
                for pid, policy in zip(pids, policies, strict=True)
            ],
            "idle": idle,
            "others": [dict(policy) for policy in others or policies[:1]],
            "lanes": lanes,
            "workers": workers,
        }
        holder = subprocess.Popen(
            [*lab.host_prefix, sys.executable, "-m", "bench.holder"],
            env=lab.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        stack.callback(_end, holder)
        assert holder.stdin is not None
        assert holder.stdout is not None
        holder.stdin.write(json.dumps(told) + "\n")
        holder.stdin.flush()
        line = holder.stdout.readline()
        if not line:
            raise RuntimeError("the gateway did not start")
        ready = json.loads(line)
        ways = [
            Way(
                name or f"gateway ({policy['name']})",
                pid,
                resolver=resolver,
                processes=tuple(ready["pids"]),
            )
            for pid, policy, resolver in zip(
                pids, policies, ready["resolvers"], strict=True
            )
        ]
        for way in ways:  # The lookup that an opaque protocol is judged by.
            way.run(["dig", "+short", f"@{way.resolver}", NAME])
        yield Held(holder, ways)


def _end(holder: subprocess.Popen[str]) -> None:
    try:
        holder.communicate("", timeout=30)
    except subprocess.TimeoutExpired:
        holder.kill()
        holder.wait()
