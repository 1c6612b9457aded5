"""Sockets are served in short turns, and what was said of one never reaches another."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import pytest

from stockade.gateway.events import TURN, EventQueue
from stockade.gateway.listening import Pace
from tests.unit.gateway.fakes import Clock, close_all, run, side

IN = 1


async def rounds(count: int = 3) -> None:
    for _ in range(count):
        await asyncio.sleep(0.005)


def pairs(count: int) -> list[tuple[socket.socket, socket.socket]]:
    return [socket.socketpair() for _ in range(count)]


def test_a_busy_queue_does_not_keep_another_waiting() -> None:
    """Between two turns of a devbox with much to do, every other has one."""

    async def main() -> None:
        busy, quiet = EventQueue(), EventQueue()
        made = pairs(4 * TURN + 1)
        served: list[str] = []

        def serve(who: str, sock: socket.socket) -> Callable[[int], None]:
            def handle(_: int) -> None:
                sock.recv(1)
                served.append(who)

            return handle

        for ours, theirs in made:
            theirs.send(b"xx")
            queue, who = (quiet, "quiet") if ours is made[-1][0] else (busy, "busy")
            queue.watch(ours.fileno(), IN, serve(who, ours))
        await rounds()
        first = served.index("quiet")
        second = served.index("quiet", first + 1)
        assert first <= TURN
        assert second - first <= TURN + 1
        assert served.count("busy") == 8 * TURN
        for queue in (busy, quiet):
            queue.close()
        for pair in made:
            close_all(pair)

    run(main())


def test_everything_ready_is_served_in_the_end() -> None:
    """With level triggers, the kernel tells first of who has waited longest."""

    async def main() -> None:
        queue = EventQueue()
        made = pairs(3 * TURN)
        served: set[int] = set()
        for ours, theirs in made:
            theirs.send(b"x")  # Never read: all stay ready for ever.
            number = ours.fileno()
            queue.watch(number, IN, lambda _, number=number: served.add(number))  # type: ignore[misc]
        await rounds()
        assert len(served) == 3 * TURN
        queue.close()
        for pair in made:
            close_all(pair)

    run(main())


def test_what_was_said_of_a_closed_socket_reaches_no_other() -> None:
    """Its number may belong to a new socket before the turn is over."""

    async def main() -> None:
        queue = EventQueue()
        (first, first_peer), (second, second_peer) = pairs(2)
        seen: list[str] = []
        reborn: list[socket.socket] = []

        def close_second(_: int) -> None:
            first.recv(1)
            number = second.fileno()
            queue.forget(number)
            second.close()
            new, peer = socket.socketpair()
            reborn.extend((new, peer))
            assert new.fileno() == number
            queue.watch(number, IN, lambda _: seen.append("new"))

        queue.watch(first.fileno(), IN, close_second)
        queue.watch(second.fileno(), IN, lambda _: seen.append("old"))
        first_peer.send(b"x")
        second_peer.send(b"x")
        await rounds()
        assert seen == []
        reborn[1].send(b"x")
        await rounds()
        assert set(seen) == {"new"}
        queue.close()
        close_all((first, first_peer, second_peer, *reborn))

    run(main())


def test_a_closed_queue_watches_nothing_more() -> None:
    async def main() -> None:
        queue = EventQueue()
        ours, theirs = socket.socketpair()
        seen: list[int] = []
        queue.watch(ours.fileno(), IN, seen.append)
        queue.close()
        theirs.send(b"x")
        await rounds()
        assert seen == []
        with pytest.raises(OSError, match="detached"):
            queue.watch(ours.fileno(), IN, seen.append)
        queue.forget(ours.fileno())
        queue.close()
        close_all((ours, theirs))

    run(main())


def test_a_side_nobody_waits_for_takes_no_turns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A peer that hangs up while its bytes may not be taken must not spin the loop."""

    async def main() -> None:
        queue = EventQueue()
        ours, theirs = socket.socketpair()
        waited = side(ours, queue)
        polls = 0

        class Counting:
            """An epoll that counts the calls of poll()."""

            def __init__(self, inner: Any) -> None:
                self._inner = inner

            def __getattr__(self, name: str) -> Any:
                return getattr(self._inner, name)

            def poll(self, *args: Any) -> Any:
                nonlocal polls
                polls += 1
                return self._inner.poll(*args)

        theirs.send(b"x")
        await waited.readable()
        monkeypatch.setattr(queue, "_epoll", Counting(queue._epoll))
        theirs.close()
        await rounds(6)
        assert polls <= 3
        assert await waited.receive(9) == b"x"
        assert await waited.receive(9) == b""
        waited.close()
        waited.close()
        queue.close()

    run(main())


def test_waiting_has_an_end() -> None:
    async def main() -> None:
        queue = EventQueue()
        ours, theirs = socket.socketpair()
        waited = side(ours, queue)
        with pytest.raises(TimeoutError):
            await waited.readable(0.01)
        theirs.send(b"x")
        await waited.readable(5)
        waited.reset()
        queue.close()
        theirs.close()

    run(main())


def test_all_is_sent_although_the_peer_reads_slowly() -> None:
    async def main() -> None:
        queue = EventQueue()
        ours, theirs = socket.socketpair()
        sender = side(ours, queue)
        theirs.setblocking(False)
        data = bytes(range(256)) * 8_192
        sending = asyncio.ensure_future(sender.send_all(data))
        got = b""
        loop = asyncio.get_running_loop()
        while len(got) < len(data):
            got += await loop.sock_recv(theirs, 50_000)
        await sending
        assert got == data
        sender.close()
        queue.close()
        theirs.close()

    run(main())


@pytest.mark.parametrize("sharing", [True, False])
def test_a_lane_slows_down_only_beside_others(sharing: bool) -> None:
    clock = Clock()
    pace = Pace(clock, rate=10, burst=5)
    allowed = 0
    for step in range(1_000):
        clock.now = 1_000 + step / 1_000
        if sharing and step % 100 == 0:
            assert pace.allows("quiet")
        allowed += pace.allows("busy")
    assert (allowed < 20) if sharing else (allowed == 1_000)


def test_a_lane_may_take_all_again_once_others_are_still() -> None:
    clock = Clock()
    pace = Pace(clock, rate=1, burst=1)
    assert pace.allows("quiet")
    assert [pace.allows("busy") for _ in range(3)] == [True, False, False]
    clock.now += 1.1
    assert [pace.allows("busy") for _ in range(3)] == [True, True, True]
