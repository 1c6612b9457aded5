"""Runs in the lab's host namespace: a devbox whose policy changes while it is used.

    driver.py tighten    open connections of all kinds, take a name away, say what was cut
    driver.py widen      add and take away a name again and again, with a request after each

Prints one JSON object.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

from stockade.agent.agent import Devbox, HostAgent
from stockade.agent.launch import launch
from stockade.config import load_settings
from stockade.gateway.flowlog import FlowRecord
from stockade.policy.model import NetworkPolicy
from stockade.runtime import overlay
from stockade.runtime.driver import Stdio
from stockade.runtime.images import ImageStore
from stockade.spec import DevboxId, DevboxSpec, Mount, PolicyPush

PROBES = Path(__file__).with_name("probes")
KEPT = ("ssh.test", "big.test", "sink.test", "ws.test", "silent.test", "a.test")
CUT = ("b.test",)


def push(generation: int, *names: str) -> PolicyPush:
    """One generation of the policy."""
    policy = NetworkPolicy.from_mapping({"name": "p", "allowed_hostnames": list(names)})
    return PolicyPush("npol_test", generation, policy)


class Driven:
    """A devbox that reads commands on its standard input and answers, line by line."""

    def __init__(self) -> None:
        overlay.enter_private_mounts()
        self.records: list[FlowRecord] = []
        self.settings = load_settings(os.environ)
        self.agent = HostAgent(
            self.settings, launch(self.settings), self.records.append, lambda _: None
        )
        self.devbox: Devbox | None = None

    async def start(self, script: str, first: PolicyPush) -> None:
        """Run a probe in a devbox under its first policy."""
        await self.agent.start()
        image = await ImageStore(self.settings.data_dir).ensure("default")
        spec = DevboxSpec(
            id=DevboxId(f"dbx_driven{os.getpid()}"),
            argv=("python3", "-u", f"/probes/{script}"),
            mounts=(Mount(PROBES, "/probes", read_only=True),),
        )
        to_box, self._to = os.pipe()
        self._from, from_box = os.pipe()
        self.devbox = await self.agent.prepare(spec, image, Stdio(to_box, from_box, 2))
        os.close(to_box)
        os.close(from_box)
        self._reader = os.fdopen(self._from)
        await self.agent.release(self.devbox, first)

    async def tell(self, line: str) -> str:
        """Send a command and return the answer."""
        os.write(self._to, line.encode() + b"\n")
        return (await asyncio.to_thread(self._reader.readline)).strip()

    async def update(self, to: PolicyPush) -> int:
        """Push a policy; how many flows it cut."""
        assert self.devbox is not None
        return (await self.agent.update_policy(self.devbox, to)).cut


async def tighten(driven: Driven) -> dict[str, object]:
    """Open each kind of flow to a name that stays and to one that goes."""
    await driven.start("keeper.py", push(1, "stays.test", "goes.test"))
    opened = json.loads(await driven.tell("open stays.test goes.test"))
    acknowledged = await driven.update(push(2, "stays.test"))
    told = json.loads(await driven.tell("check"))
    await driven.agent.stop()
    return {
        "opened": opened,
        "acknowledged": acknowledged,
        "cut": [kind for kind, state in told["goes.test"].items() if state == "cut"],
        "kept": [
            kind for kind, state in told["stays.test"].items() if state == "alive"
        ],
        "generations": sorted({r.generation for r in driven.records if r.generation}),
    }


async def widen(driven: Driven) -> dict[str, object]:
    """Flip one name in and out; ask for it right after each acknowledgement."""
    await driven.start("keeper.py", push(1, "a.test"))
    before = await driven.tell("get b.test")
    after = []
    for generation in range(2, 42):
        names = ("a.test", "b.test") if generation % 2 == 0 else ("a.test",)
        await driven.update(push(generation, *names))
        after.append(await driven.tell("get b.test"))
    await driven.agent.stop()
    return {"before": before, "after": after}


async def main() -> None:
    """Do what the first argument says."""
    scenes = {"tighten": tighten, "widen": widen}
    print(json.dumps(await scenes[sys.argv[1]](Driven())))


asyncio.run(main())
