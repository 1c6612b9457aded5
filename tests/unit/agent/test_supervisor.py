"""What gateways are told of devboxes: after refusals, and one after the other."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import pytest

from stockade.agent import supervisor as module
from stockade.agent.control_client import GatewayGone, Quarantined
from stockade.agent.launch import GatewayProcess
from stockade.agent.supervisor import Attachment, GatewaySupervisor, InForce
from stockade.command import spawn
from stockade.errors import Conflict, EnforcementError, NotFound, StockadeError
from stockade.gateway.settings import GatewaySettings
from stockade.spec import PolicyPush
from tests.unit.gateway.fakes import push, run

ONE = Attachment("dbx_1", ("100.127.0.3",), push("a.test", 5))
TWO = Attachment("dbx_2", ("100.127.0.5",), push("a.test", 5))

Answer = Callable[[dict[str, Any]], dict[str, Any]]


def taken(raw: dict[str, Any]) -> dict[str, Any]:
    """What a gateway answers to a push that it puts in force."""
    told = {"generation": raw["generation"], "digest": raw["digest"], "cut": 0}
    return {"ok": True, **told}


def refused(_: dict[str, Any], *, quarantined: bool = False) -> dict[str, Any]:
    """What it answers to one that it does not."""
    return {"ok": False, "error": "no", "quarantined": quarantined}


class Control:
    """The control connection of a gateway that answers as it is told to.

    It has ended after *lives* requests, if that is not None.
    """

    def __init__(self, answer: Answer = taken, lives: int | None = None) -> None:
        self.answer = answer
        self.lives = lives
        self.asked: list[tuple[str, Any]] = []

    async def request(self, op: str, **fields: Any) -> dict[str, Any]:
        if self.lives is not None:
            if not self.lives:
                raise GatewayGone("the gateway ended")
            self.lives -= 1
        told: Any = fields.get("devboxes", fields.get("devbox"))
        self.asked.append((op, told))
        await asyncio.sleep(0)
        if op == "attach":
            return taken(fields["push"])
        if op == "update":
            return {"devboxes": {name: self.answer(fields["push"]) for name in told}}
        return {}

    async def close(self) -> None:
        pass


def supervisor(control: Control) -> GatewaySupervisor:
    """A supervisor that speaks to *control*."""
    ours, theirs = socket.socketpair()
    process = spawn(["true"])
    process.wait()
    made = GatewaySupervisor(
        GatewaySettings({}), GatewayProcess(process, ours, theirs), print, print
    )
    ours.close()
    theirs.close()
    begin(made, control)
    return made


def begin(made: GatewaySupervisor, control: Control) -> None:
    """Let *control* be that of the gateway that runs."""
    made._control = control  # type: ignore[assignment]
    made._ready.set()


async def follow(made: GatewaySupervisor, control: Control) -> None:
    """Let the gateway end, and another follow."""
    await made._part()
    made._control = control  # type: ignore[assignment]
    await made._tell_all()
    made._ready.set()


@pytest.mark.parametrize(
    ("told", "answer", "error", "kept"),
    [
        pytest.param(push("b.test", 6), taken, None, push("b.test", 6), id="taken"),
        pytest.param(
            push("a.test", 5), taken, None, push("a.test", 5), id="the same again"
        ),
        pytest.param(
            push("b.test", 6),
            refused,
            EnforcementError,
            push("a.test", 5),
            id="refused: it never was in force, and never will be",
        ),
        pytest.param(
            push("b.test", 6),
            lambda raw: refused(raw, quarantined=True),
            Quarantined,
            push("b.test", 6),
            id="quarantined: so it is by the next gateway, and not let out again",
        ),
        pytest.param(
            push("b.test", 4),
            taken,
            Conflict,
            push("a.test", 5),
            id="an older generation: no gateway is even asked",
        ),
        pytest.param(
            push("b.test", 5), taken, Conflict, push("a.test", 5), id="another content"
        ),
    ],
)
def test_what_the_next_gateway_is_told(
    told: PolicyPush,
    answer: Answer,
    error: type[StockadeError] | None,
    kept: PolicyPush,
) -> None:
    async def main() -> None:
        made = supervisor(Control(answer))
        await made.attach(ONE)
        if error is None:
            done = await made.update("dbx_1", told)
            assert done == InForce(told.generation, told.digest, 0)
        else:
            with pytest.raises(error) as raised:
                await made.update("dbx_1", told)
            assert type(raised.value) is error
        assert made._attached["dbx_1"].push == kept

    run(main())


def test_one_push_goes_to_many_devboxes_at_once() -> None:
    async def main() -> None:
        control = Control()
        made = supervisor(control)
        await made.attach(ONE)
        await made.attach(TWO)
        told = push("b.test", 6)
        said = await made.update_all(("dbx_1", "dbx_9", "dbx_2"), told)
        done = InForce(6, told.digest, 0)
        assert (said["dbx_1"], said["dbx_2"]) == (done, done)
        assert isinstance(said["dbx_9"], NotFound)
        assert control.asked[2:] == [("update", ["dbx_1", "dbx_2"])]

    run(main())


def test_an_unknown_devbox_is_told_as_such() -> None:
    async def main() -> None:
        with pytest.raises(NotFound, match="dbx_9"):
            await supervisor(Control()).update("dbx_9", push("a.test"))

    run(main())


def test_what_a_gateway_leaves_undone_the_next_one_does() -> None:
    """It ends within an update, and within an attachment: neither is lost, or repeated."""

    async def main() -> None:
        made = supervisor(Control(lives=1))
        await made.attach(ONE)
        update = asyncio.ensure_future(made.update("dbx_1", push("b.test", 6)))
        attach = asyncio.ensure_future(made.attach(TWO))
        await asyncio.sleep(0.01)
        assert not made._ready.is_set()  # Nobody waits for a gateway that is gone.
        control = Control()
        await follow(made, control)
        assert (await update).generation == 6
        assert (await attach).generation == 5
        attached = [told for op, told in control.asked if op == "attach"]
        assert sorted(attached) == ["dbx_1", "dbx_2"]
        assert ("update", ["dbx_1"]) in control.asked

    run(main())


def test_devboxes_may_come_and_go_while_a_gateway_is_told_of_them() -> None:
    async def main() -> None:
        made = supervisor(Control())
        for number in range(200):
            name = f"dbx_{number}"
            await made.attach(Attachment(name, (f"100.127.1.{number}",), ONE.push))
        control = Control()
        following = asyncio.ensure_future(follow(made, control))
        await asyncio.sleep(0)
        late = asyncio.ensure_future(
            made.attach(Attachment("dbx_late", ("100.127.2.1",), ONE.push))
        )
        await made.detach("dbx_199")
        await made.detach("dbx_0")
        await following
        await late
        attached = [told for op, told in control.asked if op == "attach"]
        assert len(attached) == len(set(attached))
        gone = {told for op, told in control.asked if op == "detach"}
        assert set(attached) - gone == {f"dbx_{n}" for n in range(1, 199)} | {
            "dbx_late"
        }

    run(main())


def test_a_request_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.05)

    async def main() -> None:
        made = supervisor(Control(lives=1))
        await made.attach(ONE)
        with pytest.raises(GatewayGone, match="no gateway"):
            await made.update("dbx_1", push("b.test", 6))
        # The next one is told all the same.
        assert made._attached["dbx_1"].push.generation == 6

    run(main())
