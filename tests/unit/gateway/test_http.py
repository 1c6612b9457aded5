"""The requests of one connection: each is judged before a byte of it is forwarded."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from stockade.gateway.events import EventQueue
from stockade.gateway.http import Refused, RequestRelay, judge_head
from stockade.gateway.pump import PipePool
from stockade.gateway.relay import Relay
from stockade.names import Hostname
from stockade.policy.decide import Reason, deny
from stockade.wire.http1 import parse_request_head
from tests.attacks.builders import get
from tests.unit.gateway.fakes import close_all, devbox, push, run, side

BOX = devbox("a.test b.test")
UPGRADE = get("a.test", extra="Connection: Upgrade\r\nUpgrade: websocket\r\n")
ACCEPTED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"


@dataclass
class Scene:
    """client <-> gateway <-> server, the outer ends for the test."""

    client: socket.socket
    server: socket.socket
    relay: Relay
    requests: RequestRelay

    async def at_server(self, count: int = 65_536) -> bytes:
        return await self._read(self.server, count)

    async def at_client(self, count: int = 65_536) -> bytes:
        return await self._read(self.client, count)

    async def is_quiet(self) -> bool:
        """Whether nothing more reaches the server."""
        try:
            async with asyncio.timeout(0.1):
                await asyncio.get_running_loop().sock_recv(self.server, 1)
        except TimeoutError:
            return True
        return False

    async def _read(self, sock: socket.socket, count: int) -> bytes:
        async with asyncio.timeout(10):
            return await asyncio.get_running_loop().sock_recv(sock, count)


@contextlib.asynccontextmanager
async def scene(box=BOX) -> AsyncIterator[Scene]:
    client, ours = socket.socketpair()
    server, theirs = socket.socketpair()
    for sock in (client, ours, server, theirs):
        sock.setblocking(False)
    pool = PipePool()
    queue = EventQueue()
    sides = side(ours, queue), side(theirs, queue)
    relay = Relay(pool, *sides)
    relay.down.start()
    requests = RequestRelay(box, Hostname("a.test"), 80, *sides, relay)
    try:
        yield Scene(client, server, relay, requests)
    finally:
        relay.stop()
        pool.close()
        queue.close()
        close_all((client, ours, server, theirs))


async def refused(scene: Scene, *pieces: bytes) -> Refused:
    """Send *pieces*, the last of which is to be refused."""
    loop = asyncio.get_running_loop()
    task = loop.create_task(scene.requests.run(pieces[0]))
    for piece in pieces[1:]:
        await asyncio.sleep(0.01)
        scene.client.send(piece)
    with pytest.raises(Refused) as caught:
        async with asyncio.timeout(10):
            await task
    return caught.value


@pytest.mark.parametrize(
    ("head", "name", "reason"),
    [
        pytest.param(get("a.test"), "a.test", "allowed_hostname", id="allowed"),
        pytest.param(get("A.Test.:80"), "a.test", "allowed_hostname", id="spelling"),
        pytest.param(get("d.test"), "d.test", "hostname_not_allowed", id="denied"),
        pytest.param(get("203.0.113.9"), None, "address_not_allowed", id="address"),
        pytest.param(get("[::1]"), None, "address_not_allowed", id="literal"),
        pytest.param(
            b"CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n",
            None,
            "http_connect",
            id="CONNECT",
        ),
        pytest.param(
            b"GET http://d.test/ HTTP/1.1\r\nHost: d.test\r\n\r\n",
            "d.test",
            "hostname_not_allowed",
            id="an absolute target",
        ),
    ],
)
def test_a_head_is_judged_by_its_host(
    head: bytes, name: str | None, reason: str
) -> None:
    parsed = parse_request_head(head)
    assert parsed is not None
    found, decision = judge_head(BOX, parsed, 80)
    assert found == (Hostname(name) if name else None)
    assert decision.reason == reason


def test_requests_are_forwarded_as_they_were_sent() -> None:
    async def main() -> None:
        post = b"POST / HTTP/1.1\r\nhost:a.test\r\nContent-Length: 5\r\n\r\nhello"
        chunked = get("a.test", extra="Transfer-Encoding: chunked\r\n").replace(
            b"GET", b"PUT"
        )
        body = b"3\r\nabc\r\n0\r\n\r\n"
        whole = get("a.test") + post + chunked + body + get("A.TEST:80", "/last")
        async with scene() as s:
            loop = asyncio.get_running_loop()
            task = loop.create_task(s.requests.run(whole[:1]))
            for at in range(1, len(whole)):
                s.client.send(whole[at : at + 1])
            s.client.shutdown(socket.SHUT_WR)
            await asyncio.wait_for(task, 10)
            got = b""
            while chunk := await s.at_server():
                got += chunk
            assert got == whole
            assert s.relay.bytes_up == len(whole)
            assert s.relay.is_half_open

    run(main())


@pytest.mark.parametrize(
    ("second", "reason", "name"),
    [
        pytest.param(get("d.test"), "hostname_not_allowed", "d.test", id="denied"),
        pytest.param(
            get("b.test"), "http_host_mismatch", "b.test", id="another allowed"
        ),
        pytest.param(
            b"GET / HTTP/1.1\r\nHost: a.test\r\nHost: d.test\r\n\r\n",
            "http_unparseable",
            "a.test",
            id="two Hosts",
        ),
        pytest.param(
            b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n",
            "http_unparseable",
            "a.test",
            id="an ambiguous length",
        ),
        pytest.param(
            b"CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n",
            "http_connect",
            "a.test",
            id="CONNECT",
        ),
    ],
)
@pytest.mark.parametrize("together", [True, False], ids=["pipelined", "later"])
def test_a_later_request_is_judged_too(
    second: bytes, reason: str, name: str, together: bool
) -> None:
    async def main() -> None:
        async with scene() as s:
            first = get("a.test")
            pieces = (first + second,) if together else (first, second)
            error = await refused(s, *pieces)
            assert error.decision == deny(Reason(reason))
            assert error.name == name
            assert await s.at_server() == first
            assert await s.is_quiet()

    run(main())


def test_a_body_hides_no_request() -> None:
    """What a smuggler would have read as a request is the body of the first."""

    async def main() -> None:
        hidden = get("d.test")
        head = (
            f"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: {len(hidden)}\r\n\r\n"
        )
        async with scene() as s:
            error = await refused(s, head.encode() + hidden + get("d.test"))
            assert error.decision == deny(Reason.HOSTNAME_NOT_ALLOWED)
            assert await s.at_server() == head.encode() + hidden

    run(main())


def test_a_policy_that_changed_refuses_the_next_request() -> None:
    async def main() -> None:
        box = devbox("a.test")
        async with scene(box) as s:
            loop = asyncio.get_running_loop()
            task = loop.create_task(s.requests.run(get("a.test")))
            assert await s.at_server() == get("a.test")
            box.apply(push("b.test", 2))
            s.client.send(get("a.test"))
            with pytest.raises(Refused) as caught:
                await asyncio.wait_for(task, 10)
            assert caught.value.decision == deny(Reason.HOSTNAME_NOT_ALLOWED)

    run(main())


def test_after_an_upgrade_the_connection_is_opaque() -> None:
    async def main() -> None:
        async with scene() as s:
            loop = asyncio.get_running_loop()
            task = loop.create_task(s.requests.run(UPGRADE))
            assert await s.at_server() == UPGRADE
            s.server.send(ACCEPTED + b"\x81\x02hi")
            assert await s.at_client() == ACCEPTED + b"\x81\x02hi"
            await asyncio.wait_for(task, 10)
            s.client.send(b"\x81\x82\0\0\0\0ok")
            assert await s.at_server() == b"\x81\x82\0\0\0\0ok"
            s.server.send(b"more")
            assert await s.at_client() == b"more"

    run(main())


def test_what_came_with_the_upgrade_is_not_lost() -> None:
    async def main() -> None:
        early = b"\x81\x82\0\0\0\0ok"
        async with scene() as s:
            loop = asyncio.get_running_loop()
            task = loop.create_task(s.requests.run(UPGRADE + b"GET /x"))
            assert await s.at_server() == UPGRADE
            s.server.send(ACCEPTED)
            await asyncio.wait_for(task, 10)
            s.client.send(early)
            assert await s.at_server(6) == b"GET /x"
            assert await s.at_server() == early

    run(main())


@pytest.mark.parametrize("status", [b"200 OK", b"400 Bad", b"426 Upgrade Required"])
def test_a_refused_upgrade_stays_parsed(status: bytes) -> None:
    async def main() -> None:
        async with scene() as s:
            loop = asyncio.get_running_loop()
            task = loop.create_task(s.requests.run(UPGRADE))
            assert await s.at_server() == UPGRADE
            response = b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n"
            s.server.send(b"HTTP/1.1 103 Early Hints\r\n\r\n" + response)
            assert (await s.at_client()).endswith(response)
            s.client.send(get("d.test"))
            with pytest.raises(Refused):
                await asyncio.wait_for(task, 10)
            assert await s.is_quiet()

    run(main())


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(
            get(
                "a.test",
                extra="Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
                "HTTP2-Settings: AAMAAABk\r\n",
            ),
            id="h2c",
        ),
        pytest.param(
            get(
                "a.test",
                extra="Connection: Upgrade\r\nUpgrade: websocket\r\n"
                "Content-Length: 9\r\n",
            ),
            id="a body to come",
        ),
        pytest.param(
            get(
                "a.test",
                extra="Proxy-Connection: x\r\nUpgrade: websocket\r\n"
                "Content-Length: 9\r\n",
            ),
            id="asked of a proxy, with a body",
        ),
        pytest.param(
            get(
                "a.test",
                extra="Connection: Upgrade\r\nUpgrade: websocket\r\n"
                "Content-Length: 9\r\n",
                version="1.0",
            ),
            id="HTTP/1.0, with a body",
        ),
    ],
)
def test_an_upgrade_that_cannot_be_followed_is_not_asked_for(head: bytes) -> None:
    async def main() -> None:
        async with scene() as s:
            task = asyncio.get_running_loop().create_task(s.requests.run(head))
            got = (await s.at_server()).lower()
            assert got.startswith(b"get / http/1.")
            assert b"\r\nhost: a.test\r\n" in got
            assert b"upgrade" not in got
            assert b"http2-settings" not in got
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    run(main())


def test_a_later_upgrade_is_not_asked_for() -> None:
    async def main() -> None:
        async with scene() as s:
            loop = asyncio.get_running_loop()
            task = loop.create_task(s.requests.run(get("a.test") + UPGRADE))
            got = await s.at_server()
            while got.count(b"\r\n\r\n") < 2:
                got += await s.at_server()
            assert got.startswith(get("a.test"))
            assert b"pgrade" not in got
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    run(main())
