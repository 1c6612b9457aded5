"""The relay: every byte, both ends, back-pressure, resets, and nothing left open."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import select
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stockade.gateway.events import EventQueue
from stockade.gateway.pump import PIPE_BYTES, POOLED_PIPES, SMALL, PipePool, Pump
from stockade.gateway.relay import Relay
from stockade.gateway.sides import reset
from tests.unit.gateway.fakes import close_all, run, side

BIG = 50_000_000
PATTERN = hashlib.sha256(b"relay").digest() * 2048


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
    return near, far


def unix_pair() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair()


@dataclass
class Scene:
    """client <-> [ours | relay | theirs] <-> server; the outer two belong to the test."""

    client: socket.socket
    server: socket.socket
    relay: Relay
    pool: PipePool
    inner: tuple[socket.socket, socket.socket]


@contextlib.asynccontextmanager
async def scene(
    pair: Callable[[], tuple[socket.socket, socket.socket]] = tcp_pair,
) -> AsyncIterator[Scene]:
    before = descriptors()
    client, ours = pair()
    server, theirs = pair()
    for sock in (client, ours, server, theirs):
        sock.setblocking(False)
    pool = PipePool()
    queue = EventQueue()
    relay = Relay(pool, side(ours, queue), side(theirs, queue))
    relay.down.start()
    relay.start_up()
    try:
        yield Scene(client, server, relay, pool, (ours, theirs))
    finally:
        relay.stop()
        taken = len(pool._free)
        pool.close()
        queue.close()
        close_all((client, ours, server, theirs))
        assert taken <= 2
        await asyncio.sleep(0)
        assert descriptors() <= before


def chunks(total: int) -> Iterator[bytes]:
    while total > 0:
        yield PATTERN[:total]
        total -= len(PATTERN)


async def send(sock: socket.socket, total: int) -> str:
    digest = hashlib.sha256()
    for piece in chunks(total):
        digest.update(piece)
        await asyncio.get_running_loop().sock_sendall(sock, piece)
    sock.shutdown(socket.SHUT_WR)
    return digest.hexdigest()


async def receive(sock: socket.socket) -> tuple[int, str]:
    digest, count = hashlib.sha256(), 0
    while data := await asyncio.get_running_loop().sock_recv(sock, 1 << 20):
        digest.update(data)
        count += len(data)
    return count, digest.hexdigest()


async def exactly(sock: socket.socket, count: int) -> bytes:
    got = b""
    while len(got) < count:
        got += await asyncio.get_running_loop().sock_recv(sock, count - len(got))
    return got


async def within(seconds: float, work: Awaitable[Any]) -> Any:
    async with asyncio.timeout(seconds):
        return await work


@pytest.mark.parametrize("pair", [tcp_pair, unix_pair])
def test_fifty_megabytes_arrive_as_they_were_sent_both_ways(pair) -> None:
    async def main() -> None:
        async with scene(pair) as s:
            sent_up, sent_down, got_up, got_down, _ = await within(
                30,
                asyncio.gather(
                    send(s.client, BIG),
                    send(s.server, BIG),
                    receive(s.server),
                    receive(s.client),
                    s.relay.wait(),
                ),
            )
            assert got_up == (BIG, sent_up)
            assert got_down == (BIG, sent_down)
            assert (s.relay.bytes_up, s.relay.bytes_down) == (BIG, BIG)

    run(main())


def test_half_close_lets_the_other_direction_go_on() -> None:
    async def main() -> None:
        async with scene() as s:
            loop = asyncio.get_running_loop()
            await send(s.client, 10)  # And no more, ever.
            assert (await within(5, receive(s.server)))[0] == 10
            assert s.relay.is_half_open
            for _ in range(3):
                await loop.sock_sendall(s.server, b"late")
                assert await within(5, loop.sock_recv(s.client, 9)) == b"late"
            s.server.shutdown(socket.SHUT_WR)
            assert await within(5, loop.sock_recv(s.client, 9)) == b""
            await within(5, s.relay.wait())

    run(main())


def test_the_server_may_end_first() -> None:
    async def main() -> None:
        async with scene() as s:
            await send(s.server, 10)
            assert (await within(5, receive(s.client)))[0] == 10
            await send(s.client, 70_000)
            assert (await within(5, receive(s.server)))[0] == 70_000
            await within(5, s.relay.wait())

    run(main())


def test_a_stream_goes_on_after_urgent_data() -> None:
    """`splice` stops in front of the urgent octet; the relay must not."""

    async def main() -> None:
        async with scene() as s:
            for near, far in ((s.client, s.server), (s.server, s.client)):
                loop = asyncio.get_running_loop()
                await loop.sock_sendall(near, bytes(2 * SMALL))
                await within(5, exactly(far, 2 * SMALL))  # It is a stream by now.
                near.send(b"!", socket.MSG_OOB)
                await loop.sock_sendall(near, b"rest")
                assert await within(5, exactly(far, 4)) == b"rest"

    run(main())


@pytest.mark.parametrize("who", ["client", "server"])
def test_a_reset_ends_the_relay_with_its_error(who: str) -> None:
    async def main() -> None:
        async with scene() as s:
            reset(s.client if who == "client" else s.server)
            with pytest.raises(OSError, match=r"[Rr]eset"):
                await within(5, s.relay.wait())

    run(main())


def test_a_reset_while_bytes_wait_ends_the_relay_too() -> None:
    async def main() -> None:
        async with scene() as s:
            with contextlib.suppress(BlockingIOError):
                while True:
                    s.client.send(PATTERN)
                    await asyncio.sleep(0)
            reset(s.server)
            with pytest.raises(OSError, match=r"[Rr]eset|[Bb]roken pipe"):
                await within(5, s.relay.wait())

    run(main())


def test_back_pressure_reaches_the_sender() -> None:
    """A server that reads nothing stops the client; the relay holds one pipe at most."""

    async def main() -> None:
        async with scene() as s:
            accepted = 0
            for _ in range(200):
                try:
                    while True:
                        accepted += s.client.send(PATTERN)
                except BlockingIOError:
                    await asyncio.sleep(0.002)
            stuck = accepted
            await asyncio.sleep(0.05)
            with contextlib.suppress(BlockingIOError):
                accepted += s.client.send(PATTERN)
            assert accepted - stuck < len(PATTERN)
            assert s.relay._up is not None
            assert s.relay._up._held <= PIPE_BYTES
            s.client.setblocking(False)
            s.client.shutdown(socket.SHUT_WR)
            count, _ = await within(10, receive(s.server))
            assert count == accepted

    run(main())


def test_what_is_small_takes_no_pipe_and_a_stream_one_at_a_time() -> None:
    async def main() -> None:
        async with scene() as s:
            idle = descriptors()
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(s.client, b"ping")
            assert await within(5, loop.sock_recv(s.server, 9)) == b"ping"
            assert descriptors() == idle
            sending = asyncio.create_task(send(s.client, 4 * PIPE_BYTES))
            await within(5, exactly(s.server, 4 * PIPE_BYTES))
            await sending
            await asyncio.sleep(0.02)
            assert s.relay.down.is_idle
            assert len(s.pool._free) == 1
            await loop.sock_sendall(s.server, b"pong" * SMALL)
            await within(5, exactly(s.client, 4 * SMALL))
            await asyncio.sleep(0.02)
            assert descriptors() == idle + 2  # The same pipe again.

    run(main())


def test_bytes_beside_the_pumps_are_counted() -> None:
    async def main() -> None:
        client, ours = tcp_pair()
        server, theirs = tcp_pair()
        for sock in (client, ours, server, theirs):
            sock.setblocking(False)
        pool = PipePool()
        relay = Relay(pool, side(ours), side(theirs))
        await relay.send(b"GET /")
        await relay.send(b"")
        await relay.receive(b"HTTP/1.1")
        assert server.recv(9) == b"GET /"
        assert client.recv(9) == b"HTTP/1.1"
        relay.end_up()
        assert relay.is_half_open
        assert server.recv(9) == b""
        assert (relay.bytes_up, relay.bytes_down) == (5, 8)
        relay.stop()
        relay.stop()
        close_all((client, ours, server, theirs))

    run(main())


def test_a_pump_calls_before_once_and_before_it_takes_a_byte() -> None:
    async def main() -> None:
        source, feeder = socket.socketpair()
        target, reader = socket.socketpair()
        for sock in (source, feeder, target, reader):
            sock.setblocking(False)
        peeked: list[bytes] = []
        pool = PipePool()
        pump = Pump(
            pool,
            side(source),
            side(target),
            lambda _: None,
            lambda: peeked.append(source.recv(99, socket.MSG_PEEK)),
        )
        pump.start()
        loop = asyncio.get_running_loop()
        for word in (b"first", b"second"):
            feeder.send(word)
            assert await within(5, loop.sock_recv(reader, 99)) == word
        assert peeked == [b"first"]
        pump.stop()
        pool.close()
        close_all((source, feeder, target, reader))

    run(main())


def test_a_pump_without_pipes_fails_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with scene() as s:

            def no_pipe(_: int) -> tuple[int, int]:
                raise OSError(24, "Too many open files")

            monkeypatch.setattr(os, "pipe2", no_pipe)
            s.client.send(b"x" * 2 * SMALL)
            with pytest.raises(OSError, match="Too many open files"):
                await within(5, s.relay.wait())

    run(main())


def test_stopping_with_bytes_held_gives_no_used_pipe_back() -> None:
    async def main() -> None:
        async with scene() as s:
            for _ in range(100):
                with contextlib.suppress(BlockingIOError):
                    while True:
                        s.client.send(PATTERN)
                await asyncio.sleep(0.002)
            assert s.relay._up is not None
            assert s.relay._up._held
            s.relay.stop()
            assert all(not readable(ends[0]) for ends in s.pool._free)

    run(main())


def readable(descriptor: int) -> bool:
    return bool(select.select([descriptor], [], [], 0)[0])


def test_the_pool_keeps_a_bounded_number_of_pipes() -> None:
    before = descriptors()
    pool = PipePool()
    taken = [pool.take() for _ in range(100)]
    for ends in taken:
        pool.give_back(ends)
    assert len(pool._free) == POOLED_PIPES
    pool.close()
    assert descriptors() == before


def test_a_reset_is_what_the_peer_sees() -> None:
    near, far = tcp_pair()
    reset(near)
    with pytest.raises(ConnectionResetError):
        far.recv(1)
    far.close()
    assert threading.active_count() == 1
