"""A host agent under a test's command: several devboxes behind one gateway.

`python -m tests.attacks.agentdriver DIRECTORY WORKERS` reads JSON requests from standard
input, a line each, and answers each with a line. Records go to DIRECTORY/flows.jsonl, the
output of each devbox to DIRECTORY/NAME.out; what a devbox reads is told by `tell`.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from stockade.agent import janitor
from stockade.agent.agent import Devbox, HostAgent
from stockade.agent.launch import launch
from stockade.config import load_settings
from stockade.errors import StockadeError
from stockade.gateway.flowlog import FlowRecord
from stockade.policy.model import NetworkPolicy
from stockade.runtime import overlay
from stockade.runtime.driver import Stdio
from stockade.runtime.images import ImageStore
from stockade.spec import DevboxId, DevboxSpec, PolicyPush

#: The devboxes there may be: each has a janitor, which is a process of its own.
NAMES = ("one", "two", "three")


class Damaged(PolicyPush):
    """A push that breaks on its way."""

    __slots__ = ()

    def to_mapping(self) -> dict[str, Any]:
        """With a digest of something else."""
        return {**super().to_mapping(), "digest": "0" * 64}


class Driver:
    """Does what each request says."""

    def __init__(self, directory: Path, workers: int) -> None:
        self._directory = directory
        self._settings = load_settings(os.environ)
        launched = launch(self._settings, lanes=2 * workers, workers=workers)
        self._flows = (directory / "flows.jsonl").open("w", buffering=1)
        self._missed = 0
        self._agent = HostAgent(self._settings, launched, self._take, self._miss)
        self._devboxes: dict[str, Devbox] = {}
        self._inputs: dict[str, int] = {}
        self._generation = 1

    def _take(self, record: FlowRecord) -> None:
        self._flows.write(record.to_json() + "\n")

    def _miss(self, count: int) -> None:
        self._missed += count

    async def serve(self) -> None:
        """Answer requests until the input ends."""
        async with self._agent:
            while line := await asyncio.to_thread(sys.stdin.readline):
                request = json.loads(line)
                try:
                    answer = await getattr(self, request.pop("op"))(**request)
                except StockadeError as error:
                    answer = {"error": str(error), "kind": type(error).__name__}
                print(json.dumps(answer), flush=True)

    async def start(
        self, name: str, code: str, policy: dict[str, Any]
    ) -> dict[str, Any]:
        """Start a devbox that runs Python *code*."""
        image = await ImageStore(self._settings.data_dir).ensure("default", None)
        spec = DevboxSpec(
            id=DevboxId(f"dbx_test{os.getpid()}{name}"),
            argv=("python3", "-uc", code),
        )
        output = os.open(self._directory / f"{name}.out", os.O_CREAT | os.O_WRONLY)
        given, self._inputs[name] = os.pipe()
        try:
            stdio = Stdio(given, output, output)
            devbox = await self._agent.prepare(spec, image, stdio)
        finally:
            os.close(output)
            os.close(given)
        self._devboxes[name] = devbox
        in_force = await self._agent.release(devbox, self._push(policy, 1))
        slot = devbox.slot
        return {
            "pid": devbox.pid,
            "devbox": spec.id,
            "slot": slot.index,
            "digest": in_force.digest,
            "address4": str(slot.devbox4),
            "address6": str(slot.devbox6),
            "gateway4": str(slot.gateway4),
            "gateway6": str(slot.gateway6),
        }

    async def tell(self, name: str, line: str) -> dict[str, Any]:
        """Give a devbox's code a line to read."""
        os.write(self._inputs[name], line.encode() + b"\n")
        return {}

    async def update(
        self,
        name: str,
        policy: dict[str, Any],
        generation: int | None = None,
        *,
        damaged: bool = False,
    ) -> dict[str, Any]:
        """Put another policy in force; when that was, and how many flows it cut."""
        if generation is None:
            generation = self._generation + 1
        self._generation = max(generation, self._generation)
        push = self._push(policy, generation, Damaged if damaged else PolicyPush)
        asked = time.time()
        done = await self._agent.update_policy(self._devboxes[name], push)
        return {
            "cut": done.cut,
            "generation": done.generation,
            "digest": done.digest,
            "asked": asked,
            "acknowledged": time.time(),
        }

    async def remove(self, name: str) -> dict[str, Any]:
        """End a devbox and take it away; it may still be updated, which must fail."""
        await self._agent.remove(self._devboxes[name])
        os.close(self._inputs.pop(name))
        return {}

    async def wait(self, name: str) -> dict[str, Any]:
        """Wait for the end of a devbox's code."""
        ended = await self._devboxes[name].wait()
        return {"status": ended.status}

    async def block(self, seconds: float) -> dict[str, Any]:
        """Let nothing of the agent run for a while."""
        time.sleep(seconds)  # noqa: ASYNC251 - blocking is the purpose
        return {}

    async def status(self) -> dict[str, Any]:
        """What the gateway says of itself."""
        (said,) = await self._agent._gateway.status()
        return said

    async def missed(self) -> dict[str, Any]:
        """The number of records that could not be had."""
        return {"missed": self._missed}

    async def counters(self) -> dict[str, int]:
        """The packets that the kernel refused."""
        return dict(self._agent.refused_packets())

    @staticmethod
    def _push(
        policy: dict[str, Any], generation: int, kind: type[PolicyPush] = PolicyPush
    ) -> PolicyPush:
        return kind("npol_test", generation, NetworkPolicy.from_mapping(policy))


def main() -> None:
    """Serve one test."""
    directory = Path(sys.argv[1])
    overlay.enter_private_mounts()
    settings = load_settings(os.environ)
    with ExitStack() as guards:
        for name in NAMES:
            devbox = settings.run_dir / f"dbx_test{os.getpid()}{name}"
            guards.enter_context(janitor.guarding(settings.run_dir, devbox))
        asyncio.run(Driver(directory, int(sys.argv[2])).serve())


if __name__ == "__main__":
    main()
