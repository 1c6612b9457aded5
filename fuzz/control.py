"""Lines of the control protocol: each gets one reply, and what it says is so."""

from __future__ import annotations

import json
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any

from fuzz.memory import MemoryLoop
from fuzz.target import Finding, Target, expect
from stockade.gateway.control import ControlService, read_request
from stockade.gateway.devboxes import AttachedDevbox, Registry
from stockade.gateway.flowlog import FlowLog
from stockade.gateway.services import Services
from stockade.names import Hostname
from stockade.policy.decide import Flow
from stockade.policy.guardrails import Guardrails
from tests.unit.gateway import fakes

_GUARDRAILS = Guardrails()
_NAMES = tuple(map(Hostname, ("a.test", "b.test", "x.w.test")))


def _still() -> float:
    return 1_000.0


def _attach(request: Mapping[str, Any]) -> AttachedDevbox:
    addresses = tuple(map(ip_address, request["addresses"]))
    return AttachedDevbox(request["devbox"], addresses, _GUARDRAILS, fakes.generous())


async def _service() -> tuple[ControlService, Registry]:
    registry = Registry()
    services = Services(
        registry=registry,
        resolver=None,  # type: ignore[arg-type]
        dialer=None,  # type: ignore[arg-type]
        uplink=fakes.FakeUplink(),
        log=FlowLog(wall_clock=_still, clock=_still),
    )
    return ControlService(services, _attach, lambda: None), registry


_SERVICE, _REGISTRY = MemoryLoop().run_until_complete(_service())


def check(data: bytes) -> None:
    """Serve a connection that says these lines."""
    service, registry = _SERVICE, _REGISTRY
    registry.__init__()  # type: ignore[misc]
    for line in data.split(b"\n"):
        try:
            request = read_request(line)
        except ValueError:
            return  # The connection ends here.
        before = {box.devbox: box.push for box in registry if _is_name(box.devbox)}
        reply = _finish(service, request)
        expect(reply["id"] == request.get("id"), "another id", reply)
        expect(b"\n" not in json.dumps(reply).encode("ascii"), "a reply of two lines")
        _judge(request, reply, registry, before)


def _finish(service: ControlService, request: dict[str, Any]) -> dict[str, Any]:
    """Run the coroutine, which waits for nothing while there are no flows."""
    work = service._reply(request)
    try:
        work.send(None)
    except StopIteration as done:
        reply: dict[str, Any] = done.value
        return reply
    raise Finding("a reply that waits")


def _is_name(name: object) -> bool:
    return isinstance(name, str)


def _judge(
    request: dict[str, Any],
    reply: dict[str, Any],
    registry: Registry,
    before: Mapping[str, object],
) -> None:
    """What was acknowledged is in force; what was not changes nothing or denies all."""
    said: dict[str, Any] = {}
    if request.get("op") == "update" and reply["ok"]:
        said = reply["devboxes"]
    elif request.get("op") == "attach" and _is_name(request.get("devbox")):
        said = {request["devbox"]: reply}
    boxes = {box.devbox: box for box in registry if _is_name(box.devbox)}
    for name, answer in said.items():
        box = boxes.get(name)
        if answer["ok"]:
            expect(box is not None and box.push is not None, "nothing in force", answer)
        elif answer["quarantined"]:
            expect(box is not None and box.push is None, "not in quarantine", answer)
        elif box is not None:
            expect(box.push is before.get(name), "refused and changed", answer)
        if box is not None and answer["ok"]:
            _expect_in_force(box, request["push"], answer)
    for name, box in boxes.items():
        if name not in said:
            expect(box.push is before.get(name), "changed unasked", name)
        if box.push is None:
            allowed = [n for n in _NAMES if box.decide(Flow(443, name=n)).allowed]
            expect(not allowed, "allowed in quarantine", allowed)


def _expect_in_force(
    box: AttachedDevbox, push: Mapping[str, Any], answer: Mapping[str, Any]
) -> None:
    facts = (answer["generation"], answer["digest"])
    expect(facts == (push["generation"], push["digest"]), "another push", answer)
    listed = push["policy"].get("allowed_hostnames") or ()
    is_open = push["policy"].get("allow_all") is True
    for name in _NAMES:
        above = {f"*.{name.text.partition('.')[2]}", name.text, "*.w.test"}
        if not is_open and box.decide(Flow(443, name=name)).allowed:
            spelled = {text.lower().removesuffix(".") for text in listed}
            expect(spelled & above, "a name that is not listed", name, listed)


def _line(**fields: Any) -> bytes:
    return json.dumps({"id": 7, **fields}, ensure_ascii=False).encode()


_PUSHES = [
    fakes.push("a.test", 3).to_mapping(),
    fakes.push("a.test b.test", 4).to_mapping(),
    fakes.push("*.w.test", 1, "npol_2").to_mapping(),
    {"policy_id": "npol_1", "generation": 5, "digest": "", "policy": {"name": "p"}},
    {},
]
_ATTACH = _line(
    op="attach", devbox="d", addresses=["100.127.0.3"], push=_PUSHES[0],
    lookups={"203.0.113.9": ["a.test"]},
)  # fmt: skip

CONTROL = Target(
    "control",
    check,
    (
        *(
            b"\n".join((_ATTACH, _line(op="update", devboxes=["d", "x"], push=push)))
            for push in _PUSHES
        ),
        b"\n".join((_ATTACH, _ATTACH, _line(op="detach", devbox="d"), _line(op="status"))),
        b"\n".join((_line(op="ping"), _line(op="serve"), _line(op="fly"), b"[]")),
        _line(op="attach", devbox="d", addresses=["::1"], push=_PUSHES[3]),
    ),
    (
        *(f'"{word}"'.encode() for word in
          ("op", "id", "attach", "update", "detach", "status", "devbox", "devboxes",
           "push", "policy", "policy_id", "generation", "digest", "lookups", "addresses",
           "allowed_hostnames", "a.test", "d", "allow_all", "name")),
        *(b"null", b"true", b"[]", b"{}", b"1e999", b"\n"),
        *(push["digest"].encode() for push in _PUSHES[:3]),
        *(json.dumps(push).encode() for push in _PUSHES[:3]),
    ),
    max_len=1_500,
    cost=10,
)  # fmt: skip
