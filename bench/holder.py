"""Holds a gateway for a benchmark, in the lab's uplink namespace.

`python -m bench.holder` reads lines of JSON. By the first it starts a gateway as
`stockade` does, attaches the processes it is told of as devboxes, and as many slots again
as it is told that nobody uses. The others are requests, each answered with a line.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from stockade.agent.launch import launch
from stockade.agent.supervisor import Attachment, InForce
from stockade.agent.workers import GatewayWorkers
from stockade.config import load_settings
from stockade.host.slots import Slot
from stockade.policy.model import NetworkPolicy
from stockade.spec import PolicyPush


class Holder:
    """One gateway, its devboxes, and what is asked of them."""

    def __init__(self, lanes: int, workers: int) -> None:
        launched = launch(load_settings(os.environ), lanes=lanes, workers=workers)
        self._network = launched.network
        self._network.configure()
        self._pids = [gateway.process.pid for _, gateway in launched.gateways]
        self._gateway = GatewayWorkers(launched, lambda _: None, lambda _: None)
        self._names: list[str] = []
        self._generation = 1

    async def start(
        self, devboxes: list[dict[str, Any]], idle: int, others: list[dict[str, Any]]
    ) -> dict[str, Any]:
        """Attach everybody; what clients need to know."""
        await self._gateway.start()
        for told in devboxes:
            slot = await self._attach(told["policy"])
            await asyncio.to_thread(self._network.attach, slot, told["pid"])
        resolvers = [str(Slot(n).gateway4) for n in range(len(devboxes))]
        for number in range(idle):
            await self._attach(others[number % len(others)])
        return {"resolvers": resolvers, "pids": self._pids}

    async def _attach(self, policy: dict[str, Any]) -> Slot:
        slot = Slot(len(self._names))
        name = f"bench{slot.index}"
        push = PolicyPush("npol_bench", 1, NetworkPolicy.from_mapping(policy))
        addresses = (str(slot.devbox4), str(slot.devbox6))
        await self._gateway.attach(Attachment(name, addresses, push), slot)
        self._names.append(name)
        return slot

    async def update(self, slots: int, policy: dict[str, Any]) -> dict[str, Any]:
        """Push a policy to the first *slots*; until all had acknowledged it, in ms."""
        self._generation += 1
        network_policy = NetworkPolicy.from_mapping(policy)
        begin = time.perf_counter()
        push = PolicyPush("npol_bench", self._generation, network_policy)
        said = await self._gateway.update_all(self._names[:slots], push)
        took = time.perf_counter() - begin
        wrong = [one for one in said.values() if not isinstance(one, InForce)]
        if wrong or len(said) != slots:
            raise RuntimeError(f"not in force everywhere: {wrong[:1]}")
        return {"ms": took * 1e3}

    async def memory(self) -> dict[str, Any]:
        """The proportional set size of the gateway's processes, in MiB."""
        return {"mib": sum(map(_proportional, self._pids)) / 1024}

    async def stop(self) -> None:
        """End it all."""
        await self._gateway.stop()
        self._network.stop()


def _proportional(pid: int) -> int:
    """Kilobytes of a process, what is shared divided (proc(5), smaps_rollup)."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8")
    return int(next(line for line in text.splitlines() if "Pss:" in line).split()[1])


async def main() -> None:
    """Hold a gateway until the input ends."""
    told = json.loads(sys.stdin.readline())
    holder = Holder(told["lanes"], told["workers"])
    try:
        ready = await holder.start(told["devboxes"], told["idle"], told["others"])
        print(json.dumps(ready), flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            request = json.loads(line)
            answer = await getattr(holder, request.pop("op"))(**request)
            print(json.dumps(answer), flush=True)
    finally:
        with contextlib.suppress(Exception):
            await holder.stop()


if __name__ == "__main__":
    asyncio.run(main())
