"""The moments at which enforcement might not be there: starts, kills, changes."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator

import pytest

from tests.attacks import processes
from tests.attacks.storm import STORM
from tests.lab import Lab
from tests.lab.addresses import v4, v6
from tests.lab.stockade import Stockade, read_flows

A, X = v4(10), v4(66)
# Nobody else's target: what an earlier run still had on its way must not count here.
Y4, Y6 = v4(67), v6(67)


@pytest.fixture
def nothing_left() -> Iterator[None]:
    """What a test starts is gone soon after it, whatever was killed."""
    before = processes.devboxes(), processes.control_groups()
    yield
    processes.wait_until(lambda: processes.devboxes() <= before[0], "empty run_dir")
    processes.wait_until(
        lambda: processes.control_groups() <= before[1], "end of control groups"
    )


def test_nothing_leaves_before_the_policy_is_in_force(
    lab: Lab, stockade: Stockade
) -> None:
    """The first process sends from its first instruction on, at many starts.

    Were the interface up before the policy is acknowledged, a packet would get out.
    """
    boots = int(os.environ.get("TEST_BOOTS", "10"))
    before = lab.packets()
    for _ in range(boots):
        run = stockade.run("-q", "--", "python3", "-c", STORM, "0.05", policy="a.test")
        assert run.stdout == "up\n"
        assert {flow["verdict"] for flow in run.flows} == {"deny"}
    assert lab.packets() == before
    control = stockade.run("-q", "--", "python3", "-c", STORM, "0.05", policy="all")
    assert control.saw(address=X)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=str)
@pytest.mark.usefixtures("nothing_left")
def test_without_a_gateway_nothing_passes_and_soon_there_is_another(
    lab: Lab, stockade: Stockade, number: signal.Signals
) -> None:
    """The gateway is killed, or stopped, while a devbox uses it and tries to get around it.

    A killed one is replaced; the policy is in force again before anything is served. A
    stopped one is told to go on.
    """
    script = (
        f"python3 -c '{STORM}' 4 0.002 {Y4} {Y6} & "
        "while :; do curl -sS -m 1 http://a.test/hello && echo; sleep 0.05; done"
    )
    flows = lab.directory / f"life-{number}.jsonl"
    before = lab.packets()
    process = stockade.popen(
        "--", "bash", "-c", script, policy="a.test", flows=flows,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        first = [process.stdout.readline() for _ in range(2)]
        assert any("hello" in line for line in first)
        gateway = processes.gateway_of(process.pid)
        os.kill(gateway, number)
        if number is signal.SIGKILL:
            processes.wait_until(
                lambda: processes.gateway_of(process.pid) != gateway, "new gateway"
            )
        lab.wait_for(lambda entry: entry.kind == "http", timeout=30, since=lab.mark())
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
    counted = lab.packets() - before
    assert not [key for key in counted if key.address in (Y4, Y6)]
    assert {flow["reason"] for flow in read_flows(flows) if flow["address"] == Y4} <= {
        "address_not_allowed",
        "too_many_flows",
    }


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("victim", ["stockade", "devbox", "all"])
def test_what_is_killed_leaves_nothing(
    lab: Lab, stockade: Stockade, victim: str
) -> None:
    """`kill -9` of the command, of the devbox's first process, of everything at once."""
    script = f"python3 -c '{STORM}' 30 0.002 {Y4} {Y6}; sleep 30"
    before = lab.packets()
    process = stockade.popen(
        "--", "bash", "-c", script, policy="a.test",
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    gateway = processes.gateway_of(process.pid)
    first = processes.init_of(process.pid)
    family = [number for number, _ in processes.children(process.pid)]
    doomed = {"stockade": [process.pid], "devbox": [first]}.get(
        victim, [*family, process.pid]
    )
    for pid in doomed:
        os.kill(pid, signal.SIGKILL)
    process.wait(20)
    process.stdout.close()
    if victim == "devbox":
        assert process.returncode == 128 + signal.SIGKILL
    if victim == "all":  # The janitor is dead, too: the next start sweeps.
        stockade.run("-q", "--", "true")
    for pid in (gateway, first):
        processes.wait_until(lambda pid=pid: not processes.is_alive(pid), "end")  # type: ignore[misc]
    assert processes.mounts() == set()
    counted = lab.packets() - before
    assert not [key for key in counted if key.address in (Y4, Y6)]
