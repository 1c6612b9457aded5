"""A host of served devboxes, without a control plane, that does what it is told.

`python -m tests.e2e.devbox_host_driver DIRECTORY`, orders as JSON on standard input: one
a line, answered by one line.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stockade.agent.devbox_host import DevboxHost
from stockade.agent.serving import serving_host
from stockade.config import Settings
from stockade.errors import StockadeError
from stockade.hosting import (
    MIB,
    BoxAccount,
    DevboxEnded,
    DevboxPlan,
    ExecutionId,
    ExecutionPlan,
    SnapshotId,
    Stream,
)
from stockade.policy.model import NetworkPolicy
from stockade.runtime import overlay
from stockade.spec import DevboxId, PolicyPush

PATIENCE = 60.0


class Driver:
    """Gives the orders to *host*. Each is a method, with the order's fields."""

    def __init__(self, host: DevboxHost) -> None:
        self._host = host
        self._ends: list[DevboxEnded] = []
        self._hearing = asyncio.create_task(self._hear())

    async def start(
        self, names: Sequence[str], allowed: Sequence[str] = (), **fields: Any
    ) -> dict[str, Any]:
        """Start devboxes at once; how long each took, or what was wrong."""
        user = BoxAccount(*fields.pop("user", ("user", 1000)))
        fields = {"memory": 512 * MIB, "disk": 256 * MIB, **fields}
        generation = fields.pop("generation", 1)
        push = PolicyPush("npol_test", generation, _policy(allowed))

        async def one(name: str) -> tuple[float, str]:
            began = time.perf_counter()
            plan = DevboxPlan(DevboxId(name), "acct", user=user, **fields)
            try:
                said = await self._host.start(plan, push)
            except StockadeError as error:
                return 0.0, f"{type(error).__name__}: {error}"
            assert (said.devbox, said.generation) == (name, generation)
            assert said.digest == push.digest
            return time.perf_counter() - began, ""

        found = await asyncio.gather(*(one(name) for name in names))
        return {
            "seconds": [seconds for seconds, _ in found],
            "errors": [error for _, error in found if error],
        }

    async def sh(
        self, name: str, script: str, user: Sequence[Any] = ("user", 1000)
    ) -> list[Any]:
        """Run a script to its end: status, and both outputs."""
        devbox, number = DevboxId(name), ExecutionId(f"exec_{secrets.token_hex(8)}")
        argv = ("bash", "-c", script)
        await self._host.execute(
            devbox, ExecutionPlan(number, argv, user=BoxAccount(*user))
        )
        ended = await self._host.wait(devbox, number, PATIENCE)
        texts = [
            await self._host.read_output(devbox, number, stream, 0, 1 << 16)
            for stream in Stream
        ]
        return [ended.exit_status, *(text.decode(errors="replace") for text in texts)]

    async def update(
        self, names: Sequence[str], allowed: Sequence[str], generation: int
    ) -> dict[str, Any]:
        """Push a generation; the generation in force, or what was wrong, for each."""
        push = PolicyPush("npol_test", generation, _policy(allowed))
        said = await self._host.update_policy([DevboxId(n) for n in names], push)
        return {
            name: str(one) if isinstance(one, StockadeError) else one.generation
            for name, one in said.items()
        }

    async def stop(self, names: Sequence[str]) -> None:
        """Stop devboxes at once."""
        await asyncio.gather(*(self._host.stop(DevboxId(name)) for name in names))

    async def destroy(self, names: Sequence[str]) -> None:
        """Destroy devboxes at once."""
        await asyncio.gather(*(self._host.destroy(DevboxId(name)) for name in names))

    async def snapshot(self, name: str, snapshot: str) -> int:
        """Make a snapshot."""
        return await self._host.snapshot(DevboxId(name), SnapshotId(snapshot))

    async def delete_snapshot(self, snapshot: str) -> None:
        """Delete one."""
        await self._host.delete_snapshot(SnapshotId(snapshot))

    async def state(self) -> dict[str, Any]:
        """What there is, and which devboxes have ended by themselves."""
        return {
            "running": sorted(await self._host.running()),
            "disks": sorted(await self._host.disks()),
            "snapshots": sorted(await self._host.snapshots()),
            "ended": [[e.devbox, e.cause.value, e.message] for e in self._ends],
        }

    async def rest(self, seconds: float) -> None:
        """Do nothing, so that devboxes can be made ahead."""
        await asyncio.sleep(seconds)

    async def _hear(self) -> None:
        async for ended in self._host.ended():
            self._ends.append(ended)


def _policy(allowed: Sequence[str]) -> NetworkPolicy:
    return NetworkPolicy.from_mapping(
        {"name": "test", "allowed_hostnames": list(allowed)}
    )


async def serve(settings: Settings) -> None:
    """Answer orders until the input ends."""
    async with serving_host(settings) as host:
        driver = Driver(host)
        print(json.dumps("ready"), flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            word, fields = json.loads(line)
            answer: object
            try:
                answer = {"value": await getattr(driver, word)(**fields)}
            except StockadeError as error:
                answer = {"error": f"{type(error).__name__}: {error}"}
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    overlay.enter_private_mounts()
    top = Path(sys.argv[1])
    ahead = int(os.environ["WARM_POOL"])
    asyncio.run(
        serve(Settings(data_dir=top / "data", run_dir=top / "run", warm_pool=ahead))
    )
