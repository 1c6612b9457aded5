"""Many devboxes without containers behind one gateway, while their policy flips.

`python -m tests.attacks.slotdriver SLOTS RATE SECONDS` runs in the lab's host namespace.
Each slot is a network namespace in which a client asks for `a.test` and `b.test` in turn,
without end; meanwhile RATE times a second one of two lists, with either of them, is
pushed to all slots. Prints one JSON object: the pushes with their times, each request
with its times and what came of it, and the records that have ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import socket
import sys
import time
from typing import Any

from stockade.agent.launch import launch
from stockade.agent.supervisor import Attachment, InForce
from stockade.agent.workers import GatewayWorkers
from stockade.config import load_settings
from stockade.gateway.flowlog import FlowRecord
from stockade.host.slots import Slot
from stockade.policy.model import NetworkPolicy
from stockade.spec import PolicyPush
from tests.e2e.host_box import Box
from tests.lab.addresses import v4

NAMES = ("a.test", "b.test")
ADDRESS = {"a.test": v4(10), "b.test": v4(11)}
#: Between two requests of a slot: the processors are shared by all of them.
PAUSE = 0.3
GENERATION = re.compile(rb'"generation": ?(\d+)')


def push(generation: int) -> PolicyPush:
    """Odd generations allow the first name, even ones the second."""
    names = [NAMES[(generation + 1) % 2]]
    policy = {"name": "flip", "allowed_hostnames": names}
    return PolicyPush("npol_flip", generation, NetworkPolicy.from_mapping(policy))


class Slots:
    """The gateway, its slots, and what happened."""

    def __init__(self, count: int) -> None:
        launched = launch(load_settings(os.environ))
        self.network = launched.network
        self.network.configure()
        self.records: list[FlowRecord] = []
        self.missed = 0
        self.gateway = GatewayWorkers(launched, self.records.append, self._miss)
        self.boxes = [Box() for _ in range(count)]
        self.pushes: list[dict[str, Any]] = []
        self.tries: list[dict[str, Any]] = []

    def _miss(self, count: int) -> None:
        self.missed += count

    async def start(self) -> None:
        """Attach all slots under the first generation."""
        await self.gateway.start()
        for number in range(len(self.boxes)):
            slot = Slot(number)
            addresses = (str(slot.devbox4), str(slot.devbox6))
            told = Attachment(name(number), addresses, push(1))
            await self.gateway.attach(told, slot)
            await asyncio.to_thread(self.network.attach, slot, self.boxes[number].pid)
        self.pushes.append({"generation": 1, "asked": 0.0, "acknowledged": 0.0})

    async def flip(self, rate: float, seconds: float) -> None:
        """Push one generation after the other to all slots."""
        everyone = [name(number) for number in range(len(self.boxes))]
        begun = time.monotonic()
        for generation in range(2, int(rate * seconds) + 2):
            asked = time.time()
            said = await self.gateway.update_all(everyone, push(generation))
            done = [one for one in said.values() if isinstance(one, InForce)]
            assert len(done) == len(everyone), said
            self.pushes.append(
                {
                    "generation": generation,
                    "asked": asked,
                    "acknowledged": time.time(),
                    "cut": sum(one.cut for one in done),
                }
            )
            await asyncio.sleep(begun + generation / rate - time.monotonic())

    async def use(self, number: int, until: asyncio.Event) -> None:
        """Ask for one name after the other from one slot."""
        await asyncio.sleep(PAUSE * number / len(self.boxes))
        turn = 0
        while not until.is_set():
            turn += 1
            wanted = NAMES[turn % 2]
            path = f"/{number}/{turn}"
            started = time.time()
            said = await self._ask(number, wanted, path)
            self.tries.append(
                {
                    "name": wanted,
                    "path": path,
                    "started": started,
                    "ended": time.time(),
                    **said,
                }
            )
            await asyncio.sleep(PAUSE)

    async def _ask(self, number: int, wanted: str, path: str) -> dict[str, Any]:
        loop = asyncio.get_running_loop()
        with self.boxes[number].netns.entered():
            sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setblocking(False)
        request = f"GET {path} HTTP/1.1\r\nHost: {wanted}\r\nConnection: close\r\n\r\n"
        got = b""
        with sock, contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(10):
                await loop.sock_connect(sock, (ADDRESS[wanted], 80))
                await loop.sock_sendall(sock, request.encode())
                while data := await loop.sock_recv(sock, 4096):
                    got += data
        denied = GENERATION.search(got)
        return {
            "status": int(got[9:12]) if got[9:12].isdigit() else 0,
            "generation": int(denied[1]) if denied else None,
        }

    async def stop(self) -> None:
        """Take everything away; all records have come then."""
        for number in range(len(self.boxes)):
            await self.gateway.detach(name(number))
        await self.gateway.stop()
        self.network.stop()
        for box in self.boxes:
            box.__exit__()


def name(number: int) -> str:
    """A slot, as the gateway is told of it."""
    return f"slot{number}"


async def main() -> None:
    """Flip and use, side by side."""
    count, rate, seconds = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
    slots = Slots(count)
    await slots.start()
    done = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for number in range(count):
            group.create_task(slots.use(number, done))
        await slots.flip(rate, seconds)
        done.set()
    await slots.stop()
    kept = (
        "devbox",
        "generation",
        "name",
        "verdict",
        "reason",
        "kind",
        "error",
        "time",
    )
    records = [{key: getattr(r, key) for key in kept} for r in slots.records if r.ended]
    print(
        json.dumps(
            {
                "pushes": slots.pushes,
                "tries": slots.tries,
                "records": records,
                "missed": slots.missed,
            }
        )
    )


if __name__ == "__main__":
    asyncio.run(main())
