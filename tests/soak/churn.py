"""What goes on all the time: devboxes, policies, connections, and deaths."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, Final

from tests.attacks.storm import STORM
from tests.lab import Lab
from tests.lab.addresses import DIRECT4
from tests.soak.agent import Agent, Refused
from tests.soak.slots import Pool, any_policy
from tests.soak.traffic import PEER_PORT, Traffic

_ROOT = Path(__file__).resolve().parents[2]
_PEER: Final = DIRECT4[4]

#: What a devbox with a container does until it is removed.
_INSIDE: Final = (
    STORM
    + """
import random, urllib.request
while True:
    for url in ("http://a.test/bytes/50000", "https://a.test/", "http://d.test/",
                "https://b.test/", "http://203.0.113.66/"):
        try: urllib.request.urlopen(url, timeout=3).read()
        except OSError: pass
        time.sleep(random.random())
"""
)


class Churn:
    """Everything that happens to one agent. *scale* is the share of the usual rates."""

    def __init__(self, lab: Lab, agent: Agent, scale: float) -> None:
        self._lab = lab
        self._agent = agent
        self._scale = scale
        self._pool = Pool(agent)
        self._traffic = Traffic(lab.ca_pem)
        self._tasks: list[asyncio.Task[None]] = []
        self._peer: subprocess.Popen[bytes] | None = None
        self.done: Counter[str] = Counter()
        self.problems: Counter[str] = Counter()
        self.life = 0

    def start(
        self, *, slots: int, users: int, containers: int, kills: tuple[float, ...]
    ) -> None:
        """Begin. *kills* are the seconds from now at which the gateway is killed."""
        self._lab.set_name("peer.test", a=[_PEER])
        jobs: list[Coroutine[Any, Any, None]] = [
            self._again(self._replace_slot, 1.0, slots),
            self._again(self._change_policy, 0.3),
            *(self._again(self._run_container, 9.0) for _ in range(containers)),
            self._again(self._kill_peer, 25.0),
            self._again(self._silence_resolver, 60.0),
            self._kill_gateways(kills),
            *(self._again(self._connect, 0.5) for _ in range(users)),
        ]
        self._tasks = [asyncio.create_task(job) for job in jobs]

    async def stop(self) -> None:
        """End all of it, and take the devboxes away."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._pool.clear()
        if self._peer is not None:
            self._peer.kill()
            self._peer.wait()

    async def _again(
        self, step: Callable[..., Awaitable[None]], seconds: float, *args: int
    ) -> None:
        """Do something again and again, about every so many seconds."""
        while True:
            try:
                await step(*args)
            except (Refused, TimeoutError) as error:
                self._note(step, error)
            except OSError:
                self.done["refused, cut or failed"] += 1
            except Exception as error:  # noqa: BLE001 - the soak goes on, and tells it
                self._note(step, error)
            await asyncio.sleep(seconds * random.uniform(0.5, 1.5) / self._scale)

    def _note(self, step: Callable[..., Awaitable[None]], error: Exception) -> None:
        if isinstance(error, TimeoutError):
            self.done["timed out"] += 1
        else:
            self.problems[
                f"{step.__name__}: {type(error).__name__}: {error}"[:300]
            ] += 1

    async def _replace_slot(self, wanted: int) -> None:
        members = self._pool.members
        if len(members) >= wanted:
            await self._pool.remove(random.choice(members))
        await self._pool.add()
        while len(members) < wanted:
            await self._pool.add()
        self.done["slots attached"] = self._pool.attached

    async def _change_policy(self) -> None:
        if self._pool.members:
            cut = await self._pool.update(random.choice(self._pool.members))
            self.done["policies changed"] += 1
            self.done["flows cut"] += cut

    async def _connect(self) -> None:
        if self._pool.members:
            self.done["connections and questions"] += 1
            await self._traffic.some(random.choice(self._pool.members))

    _containers = itertools.count()

    async def _run_container(self) -> None:
        name = f"c{next(self._containers)}"
        code = f"import sys; sys.argv[1:] = ['2', '0.05']\n{_INSIDE}"
        start = asyncio.ensure_future(
            self._agent.call(
                "start", name=name, code=code, policy=any_policy(), generation=1
            )
        )
        try:
            await asyncio.shield(start)
            self.done["containers run"] += 1
            await asyncio.sleep(random.uniform(5, 25))
        finally:
            # At the end of the soak, too, when it is only being started.
            await asyncio.wait([start])
            if not start.cancelled() and start.exception() is None:
                await self._agent.call("remove", name=name)

    async def _kill_peer(self) -> None:
        if self._peer is not None:
            self._peer.kill()
            await asyncio.to_thread(self._peer.wait)
            await asyncio.sleep(2)
        module = (sys.executable, "-m", "tests.soak.peer", _PEER, str(PEER_PORT))
        self._peer = self._lab.popen_inet(module, cwd=_ROOT)
        self.done["servers killed"] += 1

    async def _silence_resolver(self) -> None:
        """Be, for a moment, a resolver that is restarted: its port is closed."""
        what = random.choice(("reject", "drop"))
        await self._nft(f"insert rule inet lab deliver udp dport 53 {what}")
        await asyncio.sleep(2)
        await self._nft("delete rule inet lab deliver handle {handle}")
        self.done["resolvers restarted"] += 1

    async def _nft(self, command: str) -> None:
        prefix = (*self._lab.inet_prefix, "nft")
        if "{handle}" in command:
            listed = await asyncio.to_thread(
                subprocess.check_output,
                (*prefix, "-a", "list", "chain", "inet", "lab", "deliver"),
                text=True,
            )
            (line,) = [text for text in listed.splitlines() if "udp dport 53" in text]
            command = command.format(handle=line.rpartition(" ")[2])
        await asyncio.to_thread(subprocess.run, (*prefix, *command.split()), check=True)

    async def _kill_gateways(self, kills: tuple[float, ...]) -> None:
        """Kill gateways at their time, and see that another serves soon."""
        started = time.monotonic()
        for after in kills:
            await asyncio.sleep(started + after - time.monotonic())
            killed = self._agent.gateways()
            for pid in killed:
                os.kill(pid, signal.SIGKILL)
            at = time.monotonic()
            self.life += 1
            try:
                await self._back(killed)
            except (Refused, TimeoutError, OSError) as error:
                self.problems[f"after kill -9: {error}"[:300]] += 1
            took = time.monotonic() - at
            self.done["gateways killed"] += 1
            self.done["ms until the slowest was back"] = max(
                self.done["ms until the slowest was back"], int(took * 1000)
            )

    async def _back(self, killed: list[int]) -> None:
        async with asyncio.timeout(20):
            # Processes are polled for: they are not ours.
            while not set(self._agent.gateways()) - set(killed):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
            bare = random.choice(self._pool.members)
            while True:
                try:
                    await self._traffic.question(bare)
                except (OSError, TimeoutError):
                    await asyncio.sleep(0.02)
                else:
                    return
