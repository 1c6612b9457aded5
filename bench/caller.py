"""What the benchmarks of the server let the official client do, timed.

`python -m bench.caller JOB [NUMBER]` in the network of the server, which RUNLOOP_BASE_URL
and RUNLOOP_API_KEY tell. Prints one JSON object.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from typing import Any

from runloop_api_client import AsyncRunloopSDK
from runloop_api_client.sdk import AsyncDevbox, AsyncNetworkPolicy

NAME = "a.test"
#: Keeps one connection open, and opens another whenever that is cut.
_HOLD = """
import socket, time
while True:
    try:
        with socket.create_connection(("a.test", 80), 5) as held:
            held.settimeout(None)
            held.sendall(b"GET / HTTP/1.1\\r\\nHost: a.test\\r\\n\\r\\n")
            while held.recv(65536):
                pass
    except OSError:
        pass
    time.sleep(0.05)
"""
#: How a command is run where the servers are, as JSON.
WITNESS = "BENCH_WITNESS"
_UPDATES = 20
_PATIENCE = 100


async def create(sdk: AsyncRunloopSDK, count: int) -> dict[str, Any]:
    """From `devbox.create` to the answer of the first command, one after the other."""
    policy = await _policy(sdk)
    taken = []
    for _ in range(count):
        began = time.perf_counter()
        devbox = await _devbox(sdk, policy)
        result = await devbox.cmd.exec("true")
        taken.append(time.perf_counter() - began)
        assert result.exit_code == 0
        await devbox.shutdown()
        # What is made ahead is made in this time.
        await asyncio.sleep(0.5)
    return {"seconds": taken}


async def crowd(sdk: AsyncRunloopSDK, count: int) -> dict[str, Any]:
    """So many at once, until each has answered its first command."""
    policy = await _policy(sdk)

    async def one() -> AsyncDevbox:
        devbox = await _devbox(sdk, policy)
        result = await devbox.cmd.exec("true")
        assert result.exit_code == 0
        return devbox

    began = time.perf_counter()
    devboxes = await asyncio.gather(*(one() for _ in range(count)))
    took = time.perf_counter() - began
    await asyncio.gather(*(devbox.shutdown() for devbox in devboxes))
    return {"seconds": took}


async def rollout(sdk: AsyncRunloopSDK, count: int) -> dict[str, Any]:
    """Updates that drop a host to which so many devboxes hold connections.

    *in_force* is from the request to the gateway's word, for each devbox and update;
    *open* and *left* are the connections that the servers see before and after.
    """
    policy = await _policy(sdk)
    devboxes = []
    for _ in range(count):
        devbox = await _devbox(sdk, policy)
        await devbox.cmd.exec_async(f"python3 -c '{_HOLD}'")
        devboxes.append(devbox)
    taken, in_force, cut, before, left = [], [], [], [], []
    for _ in range(_UPDATES):
        before.append(await _settled(count))
        asked, began = time.time(), time.perf_counter()
        await policy.update(allowed_hostnames=["other.example"])
        taken.append(time.perf_counter() - began)
        left.append(await _seen())
        path = f"/v1/stockade/network_policies/{policy.id}/rollout"
        told: Any = await sdk.api.get(path, cast_to=object)
        boxes = [b for b in told["devboxes"] if b["generation"] == told["generation"]]
        in_force += [box["at_ms"] / 1e3 - asked for box in boxes]
        cut.append(sum(box["flows_cut"] for box in boxes))
        await policy.update(allowed_hostnames=[NAME])
    await asyncio.gather(*(devbox.shutdown() for devbox in devboxes))
    return {
        "seconds": taken, "in_force": in_force,
        "cut": cut, "open": before, "left": left,
    }  # fmt: skip


async def _settled(count: int) -> int:
    """Wait until the servers see so many connections; how many they see."""
    for _ in range(_PATIENCE):
        found = await _seen()
        if found >= count:
            break
        await asyncio.sleep(0.2)
    return found


async def _seen() -> int:
    """The connections that are open at the servers, by their own kernel."""
    argv = json.loads(os.environ[WITNESS])
    process = await asyncio.create_subprocess_exec(
        *argv, *("ss", "-Htn", "state", "established", "sport = :80"),
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    said, _ = await process.communicate()
    return len(said.splitlines())


async def policy(sdk: AsyncRunloopSDK, _count: int) -> dict[str, Any]:
    """A policy to read."""
    return {"id": (await _policy(sdk)).id}


async def _policy(sdk: AsyncRunloopSDK) -> AsyncNetworkPolicy:
    name = f"bench-{time.time_ns()}"
    return await sdk.network_policy.create(name=name, allowed_hostnames=[NAME])


async def _devbox(sdk: AsyncRunloopSDK, policy: AsyncNetworkPolicy) -> AsyncDevbox:
    return await sdk.devbox.create(
        launch_parameters={
            "network_policy_id": policy.id,
            "resource_size_request": "X_SMALL",
        }
    )


async def main() -> None:
    """Do one job."""
    jobs = {job.__name__: job for job in (create, crowd, rollout, policy)}
    async with AsyncRunloopSDK() as sdk:
        number = int(sys.argv[2]) if len(sys.argv) > 2 else 0
        print(json.dumps(await jobs[sys.argv[1]](sdk, number)))


if __name__ == "__main__":
    asyncio.run(main())
