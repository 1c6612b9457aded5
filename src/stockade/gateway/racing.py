"""Several addresses of one name: the first that answers is the one (RFC 8305).

The client cannot try the next one by itself: the gateway has accepted its connection
before it knows whether there is anybody at the other end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from stockade.gateway.events import EventQueue
from stockade.gateway.sides import Side
from stockade.gateway.upstream import Dialer, finish
from stockade.policy.decide import Flow

#: What one address gets before the next one is tried beside it, in seconds. Most servers
#: answer within this from anywhere.
HEAD_START = 0.3


async def dial_first(
    dialer: Dialer, flows: Sequence[Flow], queue: EventQueue
) -> tuple[Side, Flow]:
    """Connect to the first of *flows* that answers; a failure gives the next its turn.

    Raises the `OSError` of the last that failed.
    """
    first, *others = flows
    running: dict[asyncio.Task[Side], Flow] = {}
    problem: OSError | None = None
    try:
        # Most often the first one answers: no task is made for it.
        side = _begin(dialer, first, queue)
        if await dialer.is_connected(side, HEAD_START):
            return side, first
        running[queue.loop.create_task(_finish(dialer, side))] = first
    except OSError as error:
        problem = error
    return await _race(dialer, others, running, problem, queue)


async def _race(
    dialer: Dialer,
    others: list[Flow],
    running: dict[asyncio.Task[Side], Flow],
    problem: BaseException | None,
    queue: EventQueue,
) -> tuple[Side, Flow]:
    """Try *others*, one after the other, beside those that are *running*."""
    try:
        while others or running:
            if others:
                facts = others.pop(0)
                running[queue.loop.create_task(_dial(dialer, facts, queue))] = facts
            done, _ = await asyncio.wait(
                running,
                timeout=HEAD_START if others else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            for task in done:
                problem = task.exception()
                facts = running.pop(task)
                if problem is None:
                    return task.result(), facts
    finally:
        _give_up(running)
    raise problem or OSError("no address to connect to")


def _begin(dialer: Dialer, facts: Flow, queue: EventQueue) -> Side:
    assert facts.address is not None  # noqa: S101 - a vetted flow has one
    return dialer.begin(facts.address, facts.port, queue)


async def _finish(dialer: Dialer, side: Side) -> Side:
    await finish(dialer, side)
    return side


async def _dial(dialer: Dialer, facts: Flow, queue: EventQueue) -> Side:
    return await _finish(dialer, _begin(dialer, facts, queue))


def _give_up(running: Iterable[asyncio.Task[Side]]) -> None:
    """End the attempts that are not needed.

    Nothing is waited for: who is told to end a second time would wait no more.
    """
    for task in running:
        task.cancel()
        task.add_done_callback(_discard)


def _discard(task: asyncio.Task[Side]) -> None:
    """Close what an attempt came to that succeeded at the same time."""
    if not task.cancelled() and task.exception() is None:
        task.result().reset()
