"""Control connections: what is acknowledged, refused, and told to subscribers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

import pytest

from stockade.gateway.control import ControlService
from stockade.gateway.devboxes import AttachedDevbox
from stockade.gateway.flowlog import FlowRecord, Kind
from stockade.names import Hostname
from stockade.policy.decide import Flow, Reason, deny
from tests.unit.gateway.fakes import Clock, FakeResolver, devbox, push, run, services

ADDRESS = "100.127.0.3"


@dataclass
class Gateway:
    """A control service, and the agent's end of a connection to it."""

    service: ControlService
    services: Any
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    served: list[str] = field(default_factory=list)

    async def say(self, **request: Any) -> dict[str, Any]:
        self.writer.write(json.dumps({"id": 7, **request}).encode() + b"\n")
        return await self.read()

    async def read(self) -> dict[str, Any]:
        async with asyncio.timeout(2):
            answer: dict[str, Any] = json.loads(await self.reader.readline())
        return answer

    async def attach(self, **fields: Any) -> dict[str, Any]:
        request = {
            "op": "attach",
            "devbox": "dbx_1",
            "addresses": [ADDRESS],
            "push": push("a.test", 3).to_mapping(),
        }
        return await self.say(**{**request, **fields})


@contextlib.asynccontextmanager
async def gateway() -> AsyncIterator[Gateway]:
    clock, records = Clock(), list[FlowRecord]()
    parts = services(clock, FakeResolver(clock), records=records)
    served: list[str] = []

    def new(request: Mapping[str, Any]) -> AttachedDevbox:
        return devbox(None, name=request["devbox"], address=request["addresses"][0])

    service = ControlService(parts, new, lambda: served.append("serving"))
    ours, theirs = socket.socketpair()
    task = asyncio.get_running_loop().create_task(service.converse(theirs))
    reader, writer = await asyncio.open_unix_connection(sock=ours)
    yield Gateway(service, parts, reader, writer, served)
    writer.close()
    await asyncio.wait_for(task, 2)
    assert service.abandoned.done()


def test_a_devbox_is_attached_with_its_policy_in_force() -> None:
    async def main() -> None:
        async with gateway() as g:
            answer = await g.attach(lookups={"203.0.113.9": ["b.test", "a.test"]})
            digest = push("a.test").digest
            assert answer == {
                "id": 7,
                "ok": True,
                "generation": 3,
                "digest": digest,
                "cut": 0,
            }
            box = g.services.registry.at(ADDRESS)
            assert box.decide(Flow(443, name=Hostname("a.test"))).allowed
            told = box.lookups.names(ip_address("203.0.113.9"))
            assert [str(name) for name in told] == ["a.test", "b.test"]

    run(main())


def test_an_update_is_acknowledged_when_it_is_in_force() -> None:
    async def main() -> None:
        async with gateway() as g:
            await g.attach()
            told = push("b.test", 4)
            answer = await g.say(op="update", devbox="dbx_1", push=told.to_mapping())
            assert (answer["ok"], answer["generation"]) == (True, 4)
            assert answer["digest"] == told.digest
            assert g.services.registry.named("dbx_1").push == told

    run(main())


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        pytest.param({"op": "update", "devbox": "dbx_9"}, "dbx_9", id="unknown devbox"),
        pytest.param({"op": "fly"}, "unknown operation 'fly'", id="unknown operation"),
        pytest.param({"op": "update"}, "older", id="a stale generation"),
    ],
)
def test_a_refusal_is_told_and_changes_nothing(
    request_: dict[str, Any], said: str
) -> None:
    async def main() -> None:
        async with gateway() as g:
            await g.attach()
            stale = push("a.test b.test", 2).to_mapping()
            answer = await g.say(**{"devbox": "dbx_1", "push": stale, **request_})
            assert not answer["ok"]
            assert said in answer["error"]
            assert g.services.registry.named("dbx_1").push == push("a.test", 3)

    run(main())


@pytest.mark.parametrize("op", ["attach", "update"])
@pytest.mark.parametrize(
    "damage",
    [
        pytest.param({"digest": "0" * 64}, id="another digest"),
        pytest.param({"policy": {"name": "p", "allow_al": True}}, id="unknown field"),
        pytest.param({"policy": None}, id="no policy"),
    ],
)
def test_a_policy_that_cannot_be_read_is_quarantine(
    op: str, damage: dict[str, Any]
) -> None:
    """Deny everything and say so: never the old policy, never none."""

    async def main() -> None:
        async with gateway() as g:
            broken = {**push("a.test", 4).to_mapping(), **damage}
            if op == "update":
                await g.attach()
                answer = await g.say(op="update", devbox="dbx_1", push=broken)
            else:
                answer = await g.attach(push=broken)
            assert not answer["ok"]
            assert "denies everything" in answer["error"]
            box = g.services.registry.named("dbx_1")
            flow = Flow(443, name=Hostname("a.test"))
            assert box.decide(flow) == deny(Reason.POLICY_UNAVAILABLE)
            status = await g.say(op="status")
            assert status["devboxes"][0]["policy_id"] is None

    run(main())


def test_detaching_frees_the_address_and_may_be_repeated() -> None:
    async def main() -> None:
        async with gateway() as g:
            await g.attach()
            assert (await g.say(op="detach", devbox="dbx_1"))["ok"]
            assert g.services.registry.at(ADDRESS) is None
            assert (await g.say(op="detach", devbox="dbx_1"))["ok"]
            assert (await g.attach())["ok"]
            assert not (await g.attach())["ok"]  # Its name is taken.

    run(main())


def test_serving_starts_when_it_is_said() -> None:
    async def main() -> None:
        async with gateway() as g:
            await g.attach()
            assert g.served == []
            await g.say(op="serve")
            assert g.served == ["serving"]

    run(main())


def test_a_subscriber_gets_records_and_an_answer_behind_them() -> None:
    async def main() -> None:
        async with gateway() as g:
            assert (await g.say(op="subscribe"))["ok"]
            box = devbox("a.test")
            denied = deny(Reason.QUIC)
            g.services.log.open(box.subject, Kind.UDP, denied, port=443).close()
            g.services.log.question(box.subject, denied, name="d.test", qtype="A")
            g.writer.write(b'{"id": 9}\n')
            assert [(await g.read()).get("kind") for _ in range(2)] == ["udp", "dns"]
            assert await g.read() == {"flushed": 9}

    run(main())


def test_what_is_no_json_ends_the_connection() -> None:
    async def main() -> None:
        async with gateway() as g:
            g.writer.write(b"not json\n")
            assert await asyncio.wait_for(g.reader.read(), 2) == b""

    run(main())
