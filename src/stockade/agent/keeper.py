"""Keeps a gateway process running, one after the other.

It notices the end of one, ends one that is of no use any more, and starts the next.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable

from stockade.agent.launch import GatewayProcess, start_gateway
from stockade.command import Process
from stockade.gateway.settings import GatewaySettings

RESTART_PAUSE = 0.05
#: For gateways that served and ended soon, again and again. With a start of a third of a
#: second, devboxes wait for less than one.
MAX_RESTART_PAUSE = 0.4
#: For gateways that do not come up at all: nobody would gain by shorter pauses.
MAX_START_PAUSE = 5.0
STABLE_SECONDS = 10.0

_log = logging.getLogger(__name__)


class GatewayKeeper:
    """Runs one gateway process after the other; the first is given.

    *meet* makes a new one ready to serve. *watch* returns, saying why, when one that
    serves has to be replaced. *part* is called when one has ended.
    """

    def __init__(
        self,
        settings: GatewaySettings,
        first: GatewayProcess,
        *,
        meet: Callable[[GatewayProcess], Awaitable[None]],
        watch: Callable[[GatewayProcess], Awaitable[str]],
        part: Callable[[], Awaitable[None]],
    ) -> None:
        self._settings = settings
        self._gateway: GatewayProcess | None = first
        self._meet = meet
        self._watch = watch
        self._part = part
        self._pause = RESTART_PAUSE
        self._keeping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Meet the first gateway, and keep one running from here on."""
        assert self._gateway is not None  # noqa: S101 - there is one until `stop`
        await self._meet(self._gateway)
        self._keeping = asyncio.get_running_loop().create_task(self._keep())

    async def stop(self) -> None:
        """End the gateway. Safe to call twice, and before `start`."""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        if self._gateway is not None:
            # Nothing it still has to do: its flows have ended with their devboxes.
            self.replace()
            await _ended(self._gateway.process)
            self._gateway = None
        await self._part()

    def replace(self) -> None:
        """Kill the gateway; the next one follows."""
        if self._gateway is not None:
            self._gateway.process.kill()

    async def _keep(self) -> None:
        loop = asyncio.get_running_loop()
        serves = True
        while True:
            started = loop.time()
            assert self._gateway is not None  # noqa: S101 - there is one until `stop`
            await self._until_ended(self._gateway, serves=serves)
            await self._part()
            _log.warning(
                "the gateway ended (%s); starting another",
                self._gateway.process.returncode,
            )
            await self._rest(serves=serves, lasted=loop.time() - started)
            serves = await self._start_next()

    async def _until_ended(self, gateway: GatewayProcess, *, serves: bool) -> None:
        """Wait for the end of a gateway; one that is of no use is killed."""
        loop = asyncio.get_running_loop()
        ended = loop.create_task(_ended(gateway.process))
        tasks: list[asyncio.Task[None] | asyncio.Task[str]] = [ended]
        try:
            if serves:
                watched = loop.create_task(_awaited(self._watch(gateway)))
                tasks.append(watched)
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                if not ended.done():
                    _log.error("the gateway is replaced: %s", _outcome(watched))
            gateway.process.kill()
            await ended
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _rest(self, *, serves: bool, lasted: float) -> None:
        """Pause before the next start, longer each time that it follows soon."""
        if serves and lasted > STABLE_SECONDS:
            self._pause = RESTART_PAUSE
        await asyncio.sleep(self._pause)
        longest = MAX_RESTART_PAUSE if serves else MAX_START_PAUSE
        self._pause = min(self._pause * 2, longest)

    async def _start_next(self) -> bool:
        """Start a gateway; whether it serves."""
        try:
            self._gateway = start_gateway(self._settings)
            await self._meet(self._gateway)
        except Exception as error:  # noqa: BLE001 - whatever it is, the next may do better
            _log.error("the new gateway is not usable: %s", error)
            return False
        return True


async def _awaited(work: Awaitable[str]) -> str:
    return await work


def _outcome(watched: asyncio.Task[str]) -> object:
    return watched.exception() or watched.result()


async def _ended(process: Process[bytes]) -> None:
    """Wait for the end of *process* without a thread, by its pidfd."""
    if process.poll() is not None:
        return
    try:
        pidfd = os.pidfd_open(process.pid)
    except OSError:  # No descriptor to spare: it takes a thread.
        await asyncio.to_thread(process.wait)
        return
    loop = asyncio.get_running_loop()
    done = asyncio.Event()
    loop.add_reader(pidfd, done.set)
    try:
        await done.wait()
    finally:
        loop.remove_reader(pidfd)
        os.close(pidfd)
    process.wait()
