"""Devboxes made ahead: everything but their policy, their network and their name.

Nothing of an image has run in one of them, and it has no interface. A start that wants
such a devbox claims one, and does with it what it does with one that it made itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import select
from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import Final

from stockade.agent.agent import Devbox, HostAgent
from stockade.agent.disks import AHEAD, Disks
from stockade.agent.threads import in_thread
from stockade.errors import StockadeError
from stockade.hosting import DevboxPlan
from stockade.runtime.driver import Stdio
from stockade.runtime.images import Image, ImageStore
from stockade.spec import DevboxId, DevboxSpec

#: How long nobody has started a devbox before more are made: they would compete.
QUIET_SECONDS: Final = 0.2
#: Kinds that some are kept of: those that were wanted last.
KINDS: Final = 4

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Kind:
    """What has to be the same for a devbox made ahead to be the one that is wanted."""

    image: str
    cpus: float
    memory: int
    disk: int

    @classmethod
    def of(cls, plan: DevboxPlan) -> Kind:
        """The kind that *plan* wants."""
        return cls(plan.image, plan.cpus, plan.memory, plan.disk)


@dataclass(frozen=True, slots=True)
class Ahead:
    """A devbox made ahead, on an image."""

    kind: Kind
    digest: str
    devbox: Devbox


class WarmPool:
    """Keeps *size* devboxes ready of each of the kinds that were wanted last."""

    def __init__(
        self, agent: HostAgent, images: ImageStore, disks: Disks, size: int
    ) -> None:
        self._agent = agent
        self._images = images
        self._disks = disks
        self._size = size
        # The kind that was wanted last is the last one.
        self._ready: OrderedDict[Kind, deque[Ahead]] = OrderedDict()
        self._useless: list[Ahead] = []
        self._wanted = asyncio.Event()
        self._refilling: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to make some."""
        if self._size:
            self._want(Kind.of(DevboxPlan(DevboxId(""), "")))
            self._refilling = asyncio.get_running_loop().create_task(self._refill())

    async def stop(self) -> None:
        """Remove those that nobody has claimed."""
        if self._refilling is not None:
            self._refilling.cancel()
            await asyncio.gather(self._refilling, return_exceptions=True)
        for ready in self._ready.values():
            self._useless.extend(ready)
        self._ready.clear()
        await self._tidy()

    async def claim(self, plan: DevboxPlan, image: Image) -> Devbox | None:
        """Give *plan* a devbox made ahead, with its disk; None if there is none for it."""
        if not self._size or plan.snapshot is not None or self._disks.has(plan.id):
            return None
        ready = self._want(Kind.of(plan))
        while ready:
            ahead = ready.popleft()
            if ahead.digest == image.digest and _is_alive(ahead.devbox):
                made = ahead.devbox
                try:
                    await in_thread(
                        self._disks.claim, made.spec.id, plan.id, ahead.digest
                    )
                except BaseException:
                    await asyncio.shield(self._remove(ahead))
                    raise
                return self._agent.name(made, plan.id, plan.env)
            self._useless.append(ahead)  # Nobody waits until it is gone.
        return None

    def _want(self, kind: Kind) -> deque[Ahead]:
        """Keep some of *kind*, instead of what has not been wanted for longest."""
        ready = self._ready.setdefault(kind, deque())
        self._ready.move_to_end(kind)
        while len(self._ready) > KINDS:
            self._useless.extend(self._ready.popitem(last=False)[1])
        self._wanted.set()
        return ready

    async def _refill(self) -> None:
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            await asyncio.sleep(QUIET_SECONDS)
            await self._tidy()
            while not self._wanted.is_set() and (kind := self._lacking()):
                try:
                    self._keep(await self._make(kind))
                except (StockadeError, OSError) as error:
                    _log.warning("no devbox made ahead: %s", error)
                    self._useless.extend(self._ready.pop(kind, ()))

    def _lacking(self) -> Kind | None:
        """The kind that was wanted last of those that there are too few of."""
        lacking = (k for k in reversed(self._ready) if len(self._ready[k]) < self._size)
        return next(lacking, None)

    def _keep(self, ahead: Ahead) -> None:
        """Have one ready, unless others have been wanted meanwhile."""
        self._ready.get(ahead.kind, self._useless).append(ahead)

    async def _tidy(self) -> None:
        while self._useless:
            await self._remove(self._useless.pop())

    async def _make(self, kind: Kind) -> Ahead:
        image = self._images.find(kind.image) or await self._images.ensure(kind.image)
        name = DevboxId(f"{AHEAD}{secrets.token_hex(8)}")
        spec = spec_of(name, kind)
        try:
            await in_thread(self._disks.make, name, kind.disk, image.digest, None)
            devbox = await prepare(self._agent, self._disks, spec, image)
        except BaseException:
            # Whatever becomes of this, the error, or that this is to end, is told.
            with contextlib.suppress(OSError):
                await in_thread(self._disks.delete, name)
            raise
        return Ahead(kind, image.digest, devbox)

    async def _remove(self, ahead: Ahead) -> None:
        with contextlib.suppress(StockadeError, OSError):
            await self._agent.remove(ahead.devbox)
            await in_thread(self._disks.delete, ahead.devbox.spec.id)


def spec_of(name: DevboxId, kind: Kind) -> DevboxSpec:
    """A devbox in which only what is started from outside runs."""
    return DevboxSpec(
        id=name,
        argv=(),
        image=kind.image,
        workdir="/",
        memory=kind.memory,
        cpus=kind.cpus,
        allow_sudo=True,
    )


async def prepare(
    agent: HostAgent, disks: Disks, spec: DevboxSpec, image: Image
) -> Devbox:
    """Mount the disk of a devbox and make all but its network."""
    disk = await in_thread(disks.mount, spec.id)
    with open(os.devnull, "r+b") as null:  # noqa: ASYNC230 - no file to wait for
        stdio = Stdio(null.fileno(), null.fileno(), null.fileno())
        return await agent.prepare(spec, image, stdio, disk=disk)


def _is_alive(devbox: Devbox) -> bool:
    poll = select.poll()
    poll.register(devbox.box.pidfd, select.POLLIN)
    return not poll.poll(0)
