"""Where the server listens, and that there is one of it."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest

from stockade.errors import Conflict, InvalidRequest, Unavailable
from stockade.server.listening import Address, bind, parse_listen, serving
from stockade.server.lock import locked

LOOPBACK = Address("127.0.0.1", 0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:8650", Address("127.0.0.1", 8650)),
        ("localhost:1", Address("127.0.0.1", 1)),
        ("[::1]:8650", Address("::1", 8650)),
        (":8650", Address("0.0.0.0", 8650)),
    ],
)
def test_an_address_is_read(text: str, expected: Address) -> None:
    assert parse_listen(text) == expected


@pytest.mark.parametrize(
    "text", ["", "8650", "127.0.0.1", "a.test:80", "127.0.0.1:65536", "1.2.3.4:-1"]
)
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match=r"127\.0\.0\.1:8650"):
        parse_listen(text)


def test_an_address_is_had_once() -> None:
    first = bind(LOOPBACK)
    try:
        with pytest.raises(Unavailable, match="Address already in use"):
            bind(Address("127.0.0.1", first.getsockname()[1]))
    finally:
        first.close()


def test_a_directory_is_had_once(tmp_path: Path) -> None:
    with (
        locked(tmp_path),
        pytest.raises(Conflict, match=f"process {os.getpid()}"),
        locked(tmp_path),
    ):
        pass
    with locked(tmp_path):
        pass


async def slow(scope: Any, receive: Any, send: Any) -> None:
    """An application that takes as many seconds as the path says."""
    await receive()
    await asyncio.sleep(float(scope["path"][1:]))
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"done"})


async def ask_and_stop(seconds: float, grace: float) -> tuple[str, float]:
    """Stop a server while it answers; what came, and how long stopping took."""
    listener = bind(LOOPBACK)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    async with httpx2.AsyncClient() as client, asyncio.TaskGroup() as group:
        async with serving(listener, slow, None, grace):
            assert (await client.get(f"{url}/0")).text == "done"
            asked = group.create_task(attempt(client, f"{url}/{seconds}"))
            await asyncio.sleep(0.2)
            began = time.monotonic()
        stopped = time.monotonic() - began
        with pytest.raises(httpx2.ConnectError):
            await httpx2.AsyncClient().get(f"{url}/0")
        if grace < seconds:
            asked.cancel()
            return "", stopped
        return await asked, stopped


async def attempt(client: httpx2.AsyncClient, url: str) -> str:
    return (await client.get(url)).text


def test_a_request_that_is_under_way_is_finished() -> None:
    text, took = asyncio.run(ask_and_stop(0.6, 5.0))
    assert text == "done"
    assert took < 3.0


def test_one_that_takes_too_long_is_not_waited_for() -> None:
    _, took = asyncio.run(ask_and_stop(30.0, 0.3))
    assert took < 2.0
