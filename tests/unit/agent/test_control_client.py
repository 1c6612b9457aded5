"""The agent's end of the control connections: answers, refusals, and ends."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from stockade.agent import control_client as module
from stockade.agent.control_client import (
    ControlClient,
    GatewayGone,
    Quarantined,
    RecordStream,
)
from stockade.errors import EnforcementError
from tests.unit.gateway.fakes import run


@dataclass
class Gateway:
    """The gateway's end of a connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def read(self) -> dict[str, Any]:
        line: dict[str, Any] = json.loads(await self.reader.readline())
        return line

    def write(self, **value: Any) -> None:
        self.writer.write(json.dumps(value).encode() + b"\n")


@asynccontextmanager
async def pair() -> AsyncIterator[tuple[socket.socket, Gateway]]:
    ours, theirs = socket.socketpair()
    gateway = Gateway(*await asyncio.open_unix_connection(sock=theirs))
    try:
        yield ours, gateway
    finally:
        gateway.writer.close()


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[ControlClient, Gateway]]:
    async with pair() as (ours, gateway):
        client = await ControlClient.connect(ours)
        try:
            yield client, gateway
        finally:
            await client.close()


def test_requests_overlap_and_get_their_own_answers() -> None:
    async def main() -> None:
        async with connected() as (client, gateway):
            asked = [
                asyncio.ensure_future(client.request("ping", n=number))
                for number in range(3)
            ]
            requests = [await gateway.read() for _ in asked]
            for request in reversed(requests):
                gateway.write(id=request["id"], ok=True, n=request["n"])
            gateway.write(id=99, ok=True)  # An answer to nothing is passed over.
            assert [(await one)["n"] for one in asked] == [0, 1, 2]

    run(main())


@pytest.mark.parametrize(("quarantined", "kind"), [(True, Quarantined), (False, None)])
def test_a_refusal_is_told(quarantined: bool, kind: type[Exception] | None) -> None:
    async def main() -> None:
        async with connected() as (client, gateway):
            asked = asyncio.ensure_future(client.request("update"))
            number = (await gateway.read())["id"]
            gateway.write(id=number, ok=False, error="so", quarantined=quarantined)
            with pytest.raises(EnforcementError, match="refused update: so") as raised:
                await asked
            assert type(raised.value) is (kind or EnforcementError)

    run(main())


def test_the_end_is_told_to_who_waits_and_to_who_asks_later() -> None:
    """At once: nobody waits for an answer that cannot come."""

    async def main() -> None:
        async with connected() as (client, gateway):
            asked = asyncio.ensure_future(client.request("update"))
            await gateway.read()
            assert not client.ended
            gateway.writer.close()
            started = time.monotonic()
            with pytest.raises(GatewayGone):
                await asked
            with pytest.raises(GatewayGone):
                await client.request("ping")
            assert client.ended
            assert time.monotonic() - started < module.REPLY_TIMEOUT / 2

    run(main())


def test_an_answer_that_does_not_come_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "REPLY_TIMEOUT", 0.02)

    async def main() -> None:
        async with connected() as (client, gateway):
            with pytest.raises(GatewayGone, match="did not answer 'ping'"):
                await client.request("ping")
            gateway.write(id=1, ok=True)  # Too late, and no harm.
            await asyncio.sleep(0.01)
            assert not client.ended

    run(main())


def test_rubbish_ends_the_connection() -> None:
    async def main() -> None:
        async with connected() as (client, gateway):
            gateway.writer.write(b"rubbish\n")
            with pytest.raises(GatewayGone):
                await client.request("ping")

    run(main())


def test_a_record_that_cannot_be_taken_is_counted_and_those_after_it_are_taken() -> (
    None
):
    async def main() -> None:
        taken: list[dict[str, Any]] = []
        missed: list[int] = []

        def take(record: dict[str, Any]) -> None:
            if record["id"] == 2:
                raise OSError("no space left")
            taken.append(record)

        async with pair() as (ours, gateway):
            records = RecordStream(take, missed.append)
            await records.start(ours)
            assert (await gateway.read())["op"] == "subscribe"
            gateway.write(id=0, ok=True)
            for number in (1, 2, 3):
                gateway.write(id=number, verdict="allow")
            gateway.write(missed=7)
            flushed = asyncio.ensure_future(records.flush())
            gateway.write(flushed=(await gateway.read())["id"])
            await flushed
            assert [record["id"] for record in taken] == [1, 3]
            assert missed == [1, 7]
            assert not records.ended
            # What a gateway has written before its end is read to the last line.
            for number in range(4, 1_000):
                gateway.write(id=number, verdict="allow", name="x" * 200)
            await gateway.writer.drain()
            gateway.writer.close()
            await records.stop()
            assert taken[-1]["id"] == 999
            assert records.ended

    run(main())
