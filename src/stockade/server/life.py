"""The life of a server: compose, listen, serve until asked to end, and end in order.

No new connection is taken first, then requests are finished, then what the composition
holds is stopped: devboxes, gateway, database.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

from stockade.errors import Unavailable
from stockade.server.authority import Certificate
from stockade.server.listening import serving

#: How long requests that are under way are waited for.
GRACE_SECONDS: Final = 10.0
#: The exit status of one who was asked twice to end.
_IMPATIENT: Final = 130

_log = logging.getLogger(__name__)


async def serve_until_stopped(
    composition: AbstractAsyncContextManager[Any],
    listener: socket.socket,
    certificate: Certificate | None,
    announce: Callable[[], None],
) -> None:
    """Serve the application of *composition* until SIGTERM, SIGINT or SIGHUP.

    *announce* is called once requests are answered. A second signal ends the process at
    once; what it leaves is swept by the next start, as after a crash.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, _asked_to_end, stop, number)
    async with composition as app:
        async with serving(listener, app, certificate, GRACE_SECONDS) as task:
            announce()
            waiting = loop.create_task(stop.wait())
            await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            if task.done() and not stop.is_set():
                raise Unavailable("the listener failed") from task.exception()
        _log.info("no more requests; ending devboxes")
    _log.info("ended")


def _asked_to_end(stop: asyncio.Event, number: signal.Signals) -> None:
    if stop.is_set():
        os._exit(_IMPATIENT)
    _log.info("ending", extra={"signal": signal.Signals(number).name})
    stop.set()
