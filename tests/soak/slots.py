"""Devboxes without a container: a process with namespaces of its own, on a slot.

They cost a few milliseconds, so that hundreds can come and go; what they send is sent
from here, by sockets made in their namespace.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import socket
from dataclasses import dataclass, field

from tests.e2e.host_box import Box
from tests.soak.agent import Agent

#: Above what the agent gives to devboxes with a container, which it counts from 0.
_FIRST_INDEX = 20_000
_SPREAD = 4_000

#: The names that traffic is about, but for the denied one.
_NAMES = (
    *("a.test", "b.test", "big.test", "sink.test", "ws.test", "ssh.test", "*.w.test"),
    *("late.test", "greeting.test", "silent.test", "peer.test", "refused.test"),
    *("blackhole.test", "reset.test", "cname.test", "many.test", "servfail.test"),
    *("nx.test", "garbage.test", "liar.test", "private.test", "tcponly.test"),
    *("rotating.test", "ttl0.test", "loop.test", "mixed.test"),
)
#: Policies, one of which each devbox has at a time; connections that one allows, another
#: cuts.
POLICIES: tuple[dict[str, object], ...] = (
    {"allowed_hostnames": list(_NAMES)},
    {"allowed_hostnames": ["a.test", "b.test", "big.test", "*.w.test", "peer.test"]},
    {"allowed_hostnames": ["a.test", "ssh.test", "ws.test", "sink.test", "ttl0.test"]},
    {"allowed_hostnames": [f"host-{n}.w.test" for n in range(500)] + ["a.test"]},
    {"allowed_hostnames": ["a.test"], "allowed_cidrs": [{"cidr": "203.0.113.0/24"}]},
    {"allow_all": True},
    {"allowed_hostnames": []},
)
# More often what lets something happen.
_WEIGHTS = (4, 4, 3, 1, 2, 2, 1)


def any_policy() -> dict[str, object]:
    """One of the policies."""
    (chosen,) = random.choices(POLICIES, _WEIGHTS)
    return {"name": "soak", **chosen}


@dataclass(slots=True)
class Bare:
    """A namespace on a slot."""

    name: str
    box: Box
    resolver: str
    generation: int = 1
    ending: bool = False
    users: int = 0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def socket(self, family: int, kind: int) -> socket.socket:
        """A socket of the devbox, not blocking."""
        with self.box.netns.entered():
            sock = socket.socket(family, kind)
        sock.setblocking(False)
        return sock


class Pool:
    """The bare devboxes that are there now."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._numbers = itertools.count()
        self.members: list[Bare] = []
        self.attached = 0

    async def add(self) -> None:
        """Attach one more."""
        number = next(self._numbers)
        box = Box()
        try:
            said = await self._agent.call(
                "attach",
                name=f"s{number}",
                pid=box.pid,
                index=_FIRST_INDEX + number % _SPREAD,
                policy=any_policy(),
                generation=1,
            )
        except BaseException:
            box.__exit__()
            raise
        self.attached += 1
        self.members.append(Bare(f"s{number}", box, said["resolver"]))

    async def remove(self, bare: Bare) -> None:
        """Detach one, with whatever it is doing."""
        if bare.ending:
            return
        bare.ending = True
        self.members.remove(bare)
        async with bare.lock:
            await self._agent.call("detach", name=bare.name)
        bare.box.__exit__()

    async def update(self, bare: Bare) -> int:
        """Give one another policy; how many flows that cut."""
        async with bare.lock:
            if bare.ending:
                return 0
            bare.generation += 1
            said = await self._agent.call(
                "update",
                name=bare.name,
                policy=any_policy(),
                generation=bare.generation,
            )
            return int(said["cut"])

    async def clear(self) -> None:
        """Detach all."""
        for bare in tuple(self.members):
            await self.remove(bare)
