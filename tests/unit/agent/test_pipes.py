"""Pipes to and from devboxes: in turn, at the pace of the slower side, to their end."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import functools
import os
import resource
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from stockade.agent.means import Bounds, Means, Pace
from stockade.agent.pipes import PIECE, Collector, InputPipe
from stockade.errors import Conflict, Unavailable


def in_loop(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Run a test in an event loop."""

    @functools.wraps(test)
    def run() -> None:
        asyncio.run(test())

    return run


class Taken:
    """What a collector has given, and how often."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.ends = 0
        self.closed = asyncio.Event()

    def end(self) -> None:
        self.ends += 1
        self.closed.set()


def collector(pace: Pace | None = None) -> tuple[Collector, Taken, int]:
    ours, theirs = os.pipe()
    taken = Taken()
    made = Collector(ours, taken.pieces.append, taken.end, pace or Pace())
    return made, taken, theirs


@in_loop
async def test_a_pipe_is_read_to_its_end() -> None:
    made, taken, theirs = collector()
    os.write(theirs, b"one")
    await asyncio.sleep(0.01)
    os.write(theirs, b"two")
    os.close(theirs)
    await asyncio.wait_for(taken.closed.wait(), 5)
    assert b"".join(taken.pieces) == b"onetwo"
    assert (made.is_closed, taken.ends) == (True, 1)
    made.close()
    assert taken.ends == 1


@in_loop
async def test_who_writes_fast_waits() -> None:
    made, taken, theirs = collector(Pace(gap=0.05))
    os.set_blocking(theirs, False)
    written = 0
    for _ in range(20):
        with contextlib.suppress(BlockingIOError):
            written += os.write(theirs, bytes(65536))
        await asyncio.sleep(0.01)
    assert len(taken.pieces) <= 6
    assert written < 20 * 65536
    made.close()
    os.close(theirs)


@in_loop
async def test_a_busy_pipe_is_enlarged() -> None:
    made, taken, theirs = collector(Pace(gap=0.0))
    os.set_blocking(theirs, False)
    while len(taken.pieces) < 12:
        with contextlib.suppress(BlockingIOError):
            os.write(theirs, bytes(65536))
        await asyncio.sleep(0)
    assert fcntl.fcntl(theirs, fcntl.F_GETPIPE_SZ) == PIECE
    made.close()
    os.close(theirs)


@in_loop
async def test_what_is_discarded_is_read_all_the_same() -> None:
    made, taken, theirs = collector()
    os.write(theirs, b"kept")
    made.drain()
    made.discard()
    for _ in range(8):
        await asyncio.to_thread(os.write, theirs, bytes(65536))
    assert taken.pieces == [b"kept"]
    os.close(theirs)
    await asyncio.wait_for(taken.closed.wait(), 5)


@in_loop
async def test_input_is_written_in_turn_as_it_is_read() -> None:
    theirs, ours = os.pipe()
    pipe = InputPipe(ours)
    writes = [
        asyncio.create_task(pipe.write(bytes([number]) * 100_000))
        for number in range(5)
    ]
    end = asyncio.create_task(pipe.end())

    def read() -> bytes:
        found = b""
        while data := os.read(theirs, 4096):
            found += data
        return found

    found = await asyncio.to_thread(read)
    await asyncio.gather(*writes, end)
    assert found == b"".join(bytes([number]) * 100_000 for number in range(5))
    with pytest.raises(Conflict, match="does not read"):
        await pipe.write(b"x")
    await pipe.end()
    os.close(theirs)


@in_loop
async def test_input_that_nobody_reads_is_refused() -> None:
    theirs, ours = os.pipe()
    pipe = InputPipe(ours)
    waiting = asyncio.create_task(pipe.write(bytes(1 << 20)))
    await asyncio.sleep(0.01)
    os.close(theirs)
    with pytest.raises(Conflict, match="does not read"):
        await waiting


@in_loop
async def test_input_that_is_closed_wakes_who_waits() -> None:
    theirs, ours = os.pipe()
    pipe = InputPipe(ours)
    waiting = [asyncio.create_task(pipe.write(bytes(1 << 20))) for _ in range(3)]
    await asyncio.sleep(0.01)
    pipe.close()
    for found in await asyncio.gather(*waiting, return_exceptions=True):
        assert isinstance(found, Conflict)
    os.close(theirs)


@in_loop
async def test_who_is_cancelled_lets_the_next_write() -> None:
    theirs, ours = os.pipe()
    pipe = InputPipe(ours)
    first = asyncio.create_task(pipe.write(bytes(1 << 20)))
    await asyncio.sleep(0.01)
    first.cancel()
    second = asyncio.create_task(pipe.write(b"second"))
    await asyncio.wait({first})
    found = await asyncio.to_thread(os.read, theirs, 1 << 20)
    await second
    assert set(found) == {0}
    assert os.read(theirs, 100) == b"second"
    pipe.close()
    os.close(theirs)


def test_readings_are_spread_over_time() -> None:
    pace = Pace(gap=1.0)
    assert [pace.delay(10.0) for _ in range(3)] == [1.0, 2.0, 3.0]
    assert pace.delay(12.5) == 1.5
    assert pace.delay(100.0) == 1.0


def test_places_are_counted() -> None:
    with Means(Bounds(running=2)) as means:
        means.take_place()
        means.take_place()
        with pytest.raises(Unavailable, match="2 commands run"):
            means.take_place()
        means.leave_place()
        means.take_place()


def test_no_more_run_than_there_are_files_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (36, 36))
    with Means() as means:
        for _ in range(3):
            means.take_place()
        with pytest.raises(Unavailable, match="3 commands run"):
            means.take_place()
