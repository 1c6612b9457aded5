"""The agent of a soak: `python -m tests.soak.keeper DIRECTORY`.

Reads JSON requests from standard input, a line each, and answers each with a line of the
same `id`. Requests overlap: devboxes start while policies change. Holds as little of its
own as it can, since it is its memory and its descriptors that are watched.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from stockade.agent.agent import Devbox, HostAgent
from stockade.agent.launch import launch
from stockade.agent.supervisor import Attachment
from stockade.config import load_settings
from stockade.errors import StockadeError
from stockade.gateway.flowlog import FlowRecord
from stockade.host.slots import Slot
from stockade.policy.model import NetworkPolicy
from stockade.runtime import overlay, removal
from stockade.runtime.driver import Stdio
from stockade.runtime.images import ImageStore
from stockade.spec import DevboxId, DevboxSpec, PolicyPush


class Keeper:
    """Does what each request says."""

    def __init__(self, directory: Path) -> None:
        self._settings = load_settings(os.environ)
        self._settings.run_dir.mkdir(mode=0o711, parents=True, exist_ok=True)
        removal.sweep(self._settings.run_dir)
        launched = launch(self._settings, lanes=4, workers=2)
        self._network = launched.network
        self._null = os.open(os.devnull, os.O_RDWR)
        self._output = os.open(directory / "boxes.out", os.O_CREAT | os.O_WRONLY)
        self._agent = HostAgent(self._settings, launched, self._take, self._missed)
        self._devboxes: dict[str, Devbox] = {}
        self._slots: dict[str, Slot] = {}
        self._records = {"allow": 0, "deny": 0, "missed": 0}
        self._running: set[asyncio.Task[None]] = set()

    def _take(self, record: FlowRecord) -> None:
        self._records[str(record.verdict)] += 1

    def _missed(self, count: int) -> None:
        self._records["missed"] += count

    async def serve(self) -> None:
        """Answer requests until the input ends."""
        reader = asyncio.StreamReader(limit=1 << 20)
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
        )
        async with self._agent:
            while line := await reader.readline():
                task = asyncio.create_task(self._answer(json.loads(line)))
                self._running.add(task)
                task.add_done_callback(self._running.discard)

    async def _answer(self, request: dict[str, Any]) -> None:
        number = request.pop("id")
        try:
            answer = await getattr(self, request.pop("op"))(**request)
        except (StockadeError, OSError, KeyError) as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps({"id": number, **answer}), flush=True)

    async def start(
        self, name: str, code: str, policy: dict[str, Any], generation: int
    ) -> dict[str, Any]:
        """Start a devbox, with a container, that runs Python *code*."""
        push = _push(policy, generation)
        image = await ImageStore(self._settings.data_dir).ensure("default", None)
        spec = DevboxSpec(
            id=DevboxId(self._id(name)),
            argv=("python3", "-uc", code),
            env={"SSL_CERT_FILE": "/etc/ssl/certs/ca-certificates.crt"},
        )
        stdio = Stdio(self._null, self._output, self._output)
        devbox = await self._agent.prepare(spec, image, stdio)
        await self._agent.release(devbox, push)
        self._devboxes[name] = devbox
        return {}

    async def remove(self, name: str) -> dict[str, Any]:
        """End a devbox, whatever it is doing."""
        await self._agent.remove(self._devboxes.pop(name))
        return {}

    async def attach(
        self, name: str, pid: int, index: int, policy: dict[str, Any], generation: int
    ) -> dict[str, Any]:
        """Put the namespace of a process on a slot, as a devbox without a container."""
        slot = Slot(index)
        addresses = (str(slot.devbox4), str(slot.devbox6))
        await self._agent._gateway.attach(
            Attachment(self._id(name), addresses, _push(policy, generation)), slot
        )
        await asyncio.to_thread(self._network.attach, slot, pid)
        self._slots[name] = slot
        return {"resolver": str(slot.gateway4)}

    async def detach(self, name: str) -> dict[str, Any]:
        """Take a slot's namespace off the gateway."""
        slot = self._slots.pop(name)
        await asyncio.to_thread(self._network.detach, slot)
        await self._agent._gateway.detach(self._id(name))
        return {}

    async def update(
        self, name: str, policy: dict[str, Any], generation: int
    ) -> dict[str, Any]:
        """Put another policy in force; how many flows that cut."""
        push = _push(policy, generation)
        done = await self._agent._gateway.update(self._id(name), push)
        return {"cut": done.cut}

    async def status(self) -> dict[str, Any]:
        """What the gateway says of itself, and what is on record."""
        said = await self._agent._gateway.status()
        devboxes = [devbox for worker in said for devbox in worker["devboxes"]]
        return {
            "devboxes": len(devboxes),
            "flows": sum(devbox["flows"] for devbox in devboxes),
            "lookups": sum(devbox["lookups"] for devbox in devboxes),
            "records": dict(self._records),
        }

    @staticmethod
    def _id(name: str) -> str:
        return f"dbx_soak{os.getpid()}{name}"


def _push(policy: dict[str, Any], generation: int) -> PolicyPush:
    return PolicyPush("npol_soak", generation, NetworkPolicy.from_mapping(policy))


def main() -> None:
    """Serve one soak."""
    overlay.enter_private_mounts()
    asyncio.run(Keeper(Path(sys.argv[1])).serve())


if __name__ == "__main__":
    main()
