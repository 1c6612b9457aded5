"""Work that goes on after the request that began it, owned by a service."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self

_log = logging.getLogger(__name__)


class Tasks:
    """A group of tasks in which one that fails does not end the others."""

    def __init__(self) -> None:
        self._group: asyncio.TaskGroup | None = None
        self._running: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        """Take on work from here on."""
        self._group = await asyncio.TaskGroup().__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End what is still running."""
        group, self._group = self._group, None
        for task in self._running:
            task.cancel()
        if group is not None:
            # An error of whoever uses it is his own, and not one of the tasks'.
            await group.__aexit__(None, None, None)

    def start(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Carry out *work* beside everything else."""
        if self._group is None:
            work.close()
            raise RuntimeError("the service is not started")
        task = self._group.create_task(self._guarded(work, name), name=name)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        # One that is cancelled before it begins has not looked at *work*.
        task.add_done_callback(lambda _: work.close())
        return task

    async def _guarded(self, work: Coroutine[Any, Any, None], name: str) -> None:
        try:
            await work
        except Exception:  # noqa: BLE001 - a task ends itself, and not the service
            _log.exception("a task failed", extra={"task": name})
