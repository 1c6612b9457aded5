"""One devbox that is served: its disk, its box, and what starts commands in it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shlex
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from stockade.agent.agent import Devbox, HostAgent
from stockade.agent.disks import Disks
from stockade.agent.executions import Executions
from stockade.agent.helper import helper
from stockade.agent.inside import Inside
from stockade.agent.means import Means
from stockade.agent.supervisor import InForce
from stockade.agent.threads import in_thread
from stockade.agent.warm import Kind, WarmPool, prepare, spec_of
from stockade.errors import InvalidRequest, StockadeError, Unavailable
from stockade.hosting import BoxAccount, DevboxPlan, EndCause
from stockade.runtime.images import Image
from stockade.spec import PolicyPush

_KILLED = 128 + signal.SIGKILL
#: The user that images have.
_USUAL = BoxAccount()
ROOT = BoxAccount("root", 0)

# $1 is a name, $2 a number, $3 a home. `useradd` is not in every image.
_ADD_USER = """
grep -q "^$1:" /etc/passwd && exit 0
printf '%s:x:%s:%s::%s:/bin/sh\\n' "$1" "$2" "$2" "$3" >> /etc/passwd &&
printf '%s:x:%s:\\n' "$1" "$2" >> /etc/group &&
mkdir -p "$3" && chown "$2:$2" "$3"
"""

_log = logging.getLogger(__name__)


class Served:
    """A devbox from its start to its stop. Its calls do not overlap, but for `frozen`."""

    def __init__(
        self,
        plan: DevboxPlan,
        agent: HostAgent,
        disks: Disks,
        pool: WarmPool,
        means: Means,
    ) -> None:
        self.plan = plan
        self._agent = agent
        self._pool = pool
        self._disks = disks
        self._means = means
        self._devbox: Devbox | None = None
        self._inside: Inside | None = None
        self._watching = -1
        #: Set while commands can be started in it: not while its disk is copied.
        self.thawed = asyncio.Event()
        self.thawed.set()

    @property
    def inside(self) -> Inside:
        """Where commands are started."""
        assert self._inside is not None  # noqa: S101 - it is started
        return self._inside

    async def start(self, image: Image, push: PolicyPush) -> InForce:
        """Start it under a policy; returns when that is in force.

        Raises what `HostAgent` raises, and then nothing of it runs or is mounted.
        """
        try:
            made = await self._pool.claim(self.plan, image) or await self._make(image)
            in_force = await self._agent.release(made, push)
            self._devbox, self._inside = made, Inside(made.box, self._means)
        except BaseException:
            await asyncio.shield(self._take_away())
            raise
        return in_force

    async def furnish(self) -> None:
        """Make the user that commands run as, if it is not one that images have.

        What does that is the devbox's own, and may take its time. If it fails, nothing
        of the devbox runs or is mounted.
        """
        try:
            await self._add_user()
        except BaseException:
            await asyncio.shield(self._give_up())
            raise

    async def stop(self, executions: Executions) -> None:
        """End all that runs in it, and put its disk away."""
        await self.inside.close()
        await self._take_away()
        await executions.detach()

    def watch(self, on_end: Callable[[], None]) -> None:
        """Call *on_end* when it has ended, asked or not."""
        assert self._devbox is not None  # noqa: S101 - it is started
        self._watching = os.dup(self._devbox.box.pidfd)
        asyncio.get_running_loop().add_reader(self._watching, self._heard, on_end)

    def cause(self) -> tuple[EndCause, str]:
        """Why it has ended by itself, in a word and in a sentence."""
        assert self._devbox is not None  # noqa: S101 - it was started
        if self.plan.id in self._agent.lost:
            return (
                EndCause.ENFORCEMENT_LOST,
                "its network policy could not be proven to be in force any more",
            )
        ended = self._devbox.box.reap()
        # A command that had no memory left ends, and is no reason for a later end.
        if ended is not None and ended.oom_killed and ended.status == _KILLED:
            return (
                EndCause.OUT_OF_MEMORY,
                f"it had no memory left of its {self.plan.memory >> 20} MiB",
            )
        status = "" if ended is None else f" with status {ended.status}"
        return EndCause.EXITED, f"its init ended{status}"

    @asynccontextmanager
    async def frozen(self) -> AsyncIterator[None]:
        """Let nothing in it run for the block, so that nothing writes."""
        assert self._devbox is not None  # noqa: S101 - it is started
        box = self._devbox.box
        self.thawed.clear()
        try:
            await self.inside.settled()
            await in_thread(box.freeze)
            yield
        finally:
            with contextlib.suppress(StockadeError, OSError):
                await in_thread(box.freeze, frozen=False)
            self.thawed.set()

    async def _give_up(self) -> None:
        await self.inside.close()
        await self._take_away()

    async def _take_away(self) -> None:
        self._unwatch()
        if self._devbox is not None:
            await self._agent.remove(self._devbox)
        await in_thread(self._disks.unmount, self.plan.id)

    async def _add_user(self) -> None:
        user = self.plan.user
        if user in (_USUAL, ROOT):
            return
        words = (user.name, str(user.uid), user.home)
        async with helper(self.inside, ROOT, _ADD_USER, *words) as script:
            await script.end_input()
            if await script.status():
                raise Unavailable(f"no user {shlex.quote(user.name)}: {script.said()}")

    async def _make(self, image: Image) -> Devbox:
        plan = self.plan
        if not self._disks.has(plan.id):
            await in_thread(
                self._disks.make, plan.id, plan.disk, image.digest, plan.snapshot
            )
        spec = spec_of(plan.id, Kind.of(plan))
        made = await prepare(self._agent, self._disks, spec, image)
        # As for one made ahead: its commands see the environment, its init does not.
        return self._agent.name(made, plan.id, plan.env)

    def _heard(self, on_end: Callable[[], None]) -> None:
        self._unwatch()
        on_end()

    def _unwatch(self) -> None:
        if self._watching >= 0:
            asyncio.get_running_loop().remove_reader(self._watching)
            os.close(self._watching)
            self._watching = -1


def account_of(plan: DevboxPlan, name: str) -> BoxAccount:
    """The account of that name in a devbox. Raises `InvalidRequest`."""
    for known in (plan.user, _USUAL, ROOT):
        if name == known.name:
            return known
    raise InvalidRequest(f"there is no user {name[:80]!r} in {plan.id}")
