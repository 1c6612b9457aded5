"""A host agent under a test's command: several devboxes behind one gateway.

`python -m tests.attacks.agentdriver DIRECTORY` reads JSON requests from standard input, a
line each, and answers each with a line. Records go to DIRECTORY/flows.jsonl, the output
of each devbox to DIRECTORY/NAME.out.
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
from stockade.gateway.flowlog import FlowRecord
from stockade.policy.model import NetworkPolicy
from stockade.runtime import overlay
from stockade.runtime.driver import Stdio
from stockade.runtime.images import ImageStore
from stockade.spec import DevboxId, DevboxSpec, PolicyPush


class Driver:
    """Does what each request says."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._settings = load_settings(os.environ)
        launched = launch(self._settings)
        self._null = os.open(os.devnull, os.O_RDONLY)
        self._flows = (directory / "flows.jsonl").open("w", buffering=1)
        self._agent = HostAgent(self._settings, launched, self._take, lambda _: None)
        self._devboxes: dict[str, Devbox] = {}
        self._generation = 1

    def _take(self, record: FlowRecord) -> None:
        self._flows.write(record.to_json() + "\n")

    async def serve(self) -> None:
        """Answer requests until the input ends."""
        async with self._agent:
            while line := await asyncio.to_thread(sys.stdin.readline):
                request = json.loads(line)
                answer = await getattr(self, request.pop("op"))(**request)
                print(json.dumps(answer), flush=True)

    async def start(
        self, name: str, code: str, policy: dict[str, Any]
    ) -> dict[str, Any]:
        """Start a devbox that runs Python *code*."""
        image = await ImageStore(self._settings.data_dir).ensure("default", None)
        spec = DevboxSpec(
            id=DevboxId(f"dbx_test{os.getpid()}{name}"),
            argv=("python3", "-uc", code),
            image="default",
            env={},
            workdir=None,
            user="root",
            mounts=(),
            memory=None,
            cpus=None,
            terminal=False,
            allow_sudo=False,
        )
        output = os.open(self._directory / f"{name}.out", os.O_CREAT | os.O_WRONLY)
        try:
            stdio = Stdio(self._null, output, output)
            devbox = await self._agent.prepare(spec, image, stdio)
        finally:
            os.close(output)
        self._devboxes[name] = devbox
        await self._agent.release(devbox, self._push(policy))
        slot = devbox.slot
        return {
            "pid": devbox.pid,
            "address4": str(slot.devbox4),
            "address6": str(slot.devbox6),
            "gateway4": str(slot.gateway4),
        }

    async def update(self, name: str, policy: dict[str, Any]) -> dict[str, Any]:
        """Put another policy in force; when that was, and how many flows it cut."""
        self._generation += 1
        asked = time.time()
        done = await self._agent.update_policy(
            self._devboxes[name], self._push(policy, self._generation)
        )
        return {
            "cut": done.cut,
            "generation": done.generation,
            "asked": asked,
            "acknowledged": time.time(),
        }

    async def wait(self, name: str) -> dict[str, Any]:
        """Wait for the end of a devbox's code."""
        ended = await self._devboxes[name].wait()
        return {"status": ended.status}

    async def counters(self) -> dict[str, int]:
        """The packets that the kernel refused."""
        return dict(self._agent.refused_packets())

    @staticmethod
    def _push(policy: dict[str, Any], generation: int = 1) -> PolicyPush:
        return PolicyPush("npol_test", generation, NetworkPolicy.from_mapping(policy))


def main() -> None:
    """Serve one test."""
    directory = Path(sys.argv[1])
    overlay.enter_private_mounts()
    settings = load_settings(os.environ)
    with ExitStack() as guards:
        # The janitor of a run guards one devbox; here the first two have one each.
        for name in ("one", "two"):
            devbox = settings.run_dir / f"dbx_test{os.getpid()}{name}"
            guards.enter_context(janitor.guarding(settings.run_dir, devbox))
        asyncio.run(Driver(directory).serve())


if __name__ == "__main__":
    main()
