"""The machine's side of a server, from the launch of its gateway to its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from stockade.agent.agent import HostAgent
from stockade.agent.devbox_host import DevboxHost
from stockade.agent.disks import Disks
from stockade.agent.flow_journal import FlowJournal
from stockade.agent.launch import launch
from stockade.agent.means import Means
from stockade.agent.warm import WarmPool
from stockade.config import Settings
from stockade.runtime import removal
from stockade.runtime.images import ImageStore

#: See docs/decisions/0007: what one devbox can keep another waiting for.
LANES: Final = 16


@asynccontextmanager
async def serving_host(settings: Settings) -> AsyncIterator[DevboxHost]:
    """Serve devboxes for the block, having swept what a killed server left.

    To be entered in a mount namespace of its own (`overlay.enter_private_mounts`).
    """
    settings.run_dir.mkdir(mode=0o711, parents=True, exist_ok=True)
    await asyncio.to_thread(removal.sweep, settings.run_dir)
    disks = Disks(settings.data_dir)
    await asyncio.to_thread(disks.recover)
    images = ImageStore(settings.data_dir)
    with FlowJournal(settings.data_dir / "flows") as journal, Means() as means:
        launched = await asyncio.to_thread(launch, settings, lanes=LANES)
        agent = HostAgent(settings, launched, journal.write, journal.miss)
        async with agent:
            pool = WarmPool(agent, images, disks, settings.warm_pool)
            host = DevboxHost(agent, images, disks, pool, means)
            pool.start()
            try:
                yield host
            finally:
                await host.close()
