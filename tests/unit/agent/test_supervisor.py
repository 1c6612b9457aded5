"""What the next gateway is told of a devbox, after updates that were taken or refused."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from stockade.agent.control_client import GatewayGone
from stockade.agent.launch import GatewayProcess
from stockade.agent.supervisor import Attachment, GatewaySupervisor
from stockade.command import spawn
from stockade.errors import EnforcementError
from stockade.gateway.settings import GatewaySettings
from stockade.spec import PolicyPush
from tests.unit.gateway.fakes import push, run


class Control:
    """The control connection of a gateway that answers as it is told to."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.asked: list[tuple[str, dict[str, Any]]] = []

    async def request(self, op: str, **fields: Any) -> dict[str, Any]:
        self.asked.append((op, fields))
        if self.error is not None and op == "update":
            raise self.error
        raw = fields["push"]
        return {"generation": raw["generation"], "digest": raw["digest"], "cut": 0}


def supervisor(control: Control) -> GatewaySupervisor:
    """A supervisor that speaks to *control*, with one devbox attached."""
    ours, theirs = socket.socketpair()
    process = spawn(["true"])
    process.wait()
    made = GatewaySupervisor(
        GatewaySettings({}), GatewayProcess(process, ours, theirs), print, print
    )
    ours.close()
    theirs.close()
    made._control = control  # type: ignore[assignment]
    return made


async def update(control: Control, told: PolicyPush) -> PolicyPush:
    """The policy that the next gateway is told, after an update to *told*."""
    made = supervisor(control)
    made._ready.set()
    await made.attach(Attachment("dbx_1", ("100.127.0.3",), push("a.test", 5)))
    try:
        await made.update("dbx_1", told)
    except EnforcementError as error:
        assert error is control.error  # noqa: PT017 - the outcome is what is compared
    return made._attached["dbx_1"].push


@pytest.mark.parametrize(
    ("error", "kept"),
    [
        pytest.param(None, push("b.test", 6), id="taken"),
        pytest.param(
            EnforcementError("older than 5, which is in force"),
            push("a.test", 5),
            id="refused: it never was in force, and never will be",
        ),
        pytest.param(
            GatewayGone("the gateway ended"),
            push("b.test", 6),
            id="the gateway ended: the next one decides",
        ),
    ],
)
def test_what_the_next_gateway_is_told(
    error: Exception | None, kept: PolicyPush
) -> None:
    assert run(update(Control(error), push("b.test", 6))) == kept
