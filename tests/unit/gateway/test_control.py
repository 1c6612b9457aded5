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

from stockade.gateway.control import ControlService, read_request
from stockade.gateway.devboxes import AttachedDevbox
from stockade.gateway.flowlog import FlowRecord, Kind
from stockade.names import Hostname
from stockade.policy.decide import Flow, Reason, deny
from stockade.spec import PolicyPush
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

    async def update(self, raw: Any, devbox: str = "dbx_1") -> dict[str, Any]:
        """Push to one devbox; what that says to it."""
        answer = await self.say(op="update", devboxes=[devbox], push=raw)
        assert answer["ok"]
        said: dict[str, Any] = answer["devboxes"][devbox]
        return said


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
            answer = await g.update(told.to_mapping())
            assert (answer["ok"], answer["generation"]) == (True, 4)
            assert answer["digest"] == told.digest
            assert g.services.registry.named("dbx_1").push == told

    run(main())


@pytest.mark.parametrize(
    ("devbox_", "told", "said"),
    [
        pytest.param("dbx_9", push("a.test", 9), "dbx_9", id="unknown devbox"),
        pytest.param("dbx_1", push("a.test b.test", 2), "older", id="older"),
        pytest.param("dbx_1", push("b.test", 3), "another content", id="changed"),
    ],
)
def test_a_refusal_is_told_and_changes_nothing(
    devbox_: str, told: PolicyPush, said: str
) -> None:
    async def main() -> None:
        async with gateway() as g:
            await g.attach()
            answer = await g.update(told.to_mapping(), devbox_)
            assert not answer["ok"]
            assert not answer["quarantined"]
            assert said in answer["error"]
            assert g.services.registry.named("dbx_1").push == push("a.test", 3)

    run(main())


@pytest.mark.parametrize(
    "request_",
    [
        {"op": "fly"},
        {},
        {"op": "update"},
        {"op": "update", "devboxes": 7, "push": {}},
        {"op": "attach", "devbox": "dbx_2"},
        {"op": "attach", "devbox": "dbx_2", "addresses": ["nowhere"], "push": {}},
        {"op": "detach"},
    ],
)
def test_a_request_that_makes_no_sense_is_refused_and_ends_nothing(
    request_: dict[str, Any],
) -> None:
    async def main() -> None:
        async with gateway() as g:
            await g.attach()
            answer = await g.say(**request_)
            assert not answer["ok"]
            assert answer["error"]
            assert (await g.say(op="ping"))["ok"]
            assert g.services.registry.named("dbx_1").push == push("a.test", 3)

    run(main())


def test_one_push_for_many_devboxes_is_answered_for_each() -> None:
    async def main() -> None:
        async with gateway() as g:
            await g.attach()
            await g.attach(devbox="dbx_2", addresses=["100.127.0.5"])
            told = push("b.test", 4).to_mapping()
            names = ["dbx_1", "dbx_9", "dbx_2"]
            answer = await g.say(op="update", devboxes=names, push=told)
            oks = {name: said["ok"] for name, said in answer["devboxes"].items()}
            assert oks == {"dbx_1": True, "dbx_9": False, "dbx_2": True}
            broken = {**told, "generation": 5, "digest": ""}
            answer = await g.say(op="update", devboxes=["dbx_1", "dbx_2"], push=broken)
            for name in ("dbx_1", "dbx_2"):
                assert answer["devboxes"][name]["quarantined"]
                box = g.services.registry.named(name)
                flow = Flow(443, name=Hostname("b.test"))
                assert box.decide(flow) == deny(Reason.POLICY_UNAVAILABLE)

    run(main())


@pytest.mark.parametrize("op", ["attach", "update"])
@pytest.mark.parametrize(
    "damage",
    [
        pytest.param({"digest": "0" * 64}, id="another digest"),
        pytest.param({"policy": {"name": "p", "allow_al": True}}, id="unknown field"),
        pytest.param({"policy": None}, id="no policy"),
        pytest.param({"policy": ["a.test"]}, id="a policy of another shape"),
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
                answer = await g.update(broken)
            else:
                answer = await g.attach(push=broken)
            assert not answer["ok"]
            assert answer["quarantined"]
            assert "denies everything" in answer["error"]
            box = g.services.registry.named("dbx_1")
            flow = Flow(443, name=Hostname("a.test"))
            assert box.decide(flow) == deny(Reason.POLICY_UNAVAILABLE)
            status = await g.say(op="status")
            assert status["devboxes"][0]["policy_id"] is None

    run(main())


def test_a_push_is_read_once_for_many_devboxes() -> None:
    """One that only claims to be the same is read, and found out."""

    async def main() -> None:
        async with gateway() as g:
            await g.attach()
            await g.attach(devbox="dbx_2", addresses=["100.127.0.5"])
            one, two = (g.services.registry.named(name) for name in ("dbx_1", "dbx_2"))
            assert one.policy is two.policy
            told = push("a.test", 3).to_mapping()
            wider = {"name": "p", "allow_all": True}
            for changed in ({"policy": wider}, {"policy": wider, "generation": 4}):
                answer = await g.update({**told, **changed})
                assert answer["quarantined"]
                assert not one.decide(Flow(443, name=Hostname("b.test"))).allowed
            assert (await g.update({**told, "generation": 5}))["generation"] == 5
            for number in range(100):  # More policies than are remembered.
                more = push(f"a.test x{number}.test", 6 + number)
                assert (await g.update(more.to_mapping()))["digest"] == more.digest
            assert two.policy.policy == push("a.test").policy

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


@pytest.mark.parametrize("line", [b"[]", b"7", b"{", b"\xff", b"[" * 100_000])
def test_a_line_that_is_no_request_is_told_as_such(line: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_request(line)
