"""Several gateway workers: each has its devboxes, and dies alone."""

from __future__ import annotations

import os
import signal

from tests.attacks.agents import Agent, policy, running_agent
from tests.attacks.processes import children, wait_until
from tests.lab import Lab

WORKERS = 2

#: Keeps one connection open and says each time whether it lives; opens others beside it.
KEEPER = """
import socket, sys, time
def opened(name):
    sock = socket.create_connection((socket.gethostbyname(name), 7000), timeout=1)
    sock.settimeout(1)
    return sock
def said(sock):
    try:
        sock.sendall(b"\\0opaque\\n")
        return "lives" if sock.recv(100) else "ended"
    except OSError:
        return "ended"
def fresh(name):
    try:
        with opened(name) as sock:
            return "reached" if said(sock) == "lives" else "refused"
    except OSError:
        return "refused"
kept = opened("a.test")
while True:
    print(said(kept), *(f"{name}={fresh(name)}" for name in ("a.test", "b.test")))
    time.sleep(0.05)
"""


def workers_of(agent: Agent) -> list[int]:
    """The gateway processes, in the order in which they were started."""
    found = [pid for pid, line in children(agent.pid) if "stockade.cli.gateway" in line]
    return sorted(found)


def last(agent: Agent, name: str, since: int = 0) -> str:
    """The last whole line of a devbox."""
    lines = agent.output(name)[since:].split("\n")[:-1]
    return lines[-1] if lines else ""


def test_each_worker_has_its_devboxes_and_dies_alone(
    lab: Lab, default_image: None
) -> None:
    """Two devboxes, two workers, two policies; one worker is killed.

    The devbox of the other one keeps the connection it had, and each keeps its policy.
    """
    with running_agent(lab, workers=WORKERS) as agent:
        first = agent.call("start", name="one", code=KEEPER, policy=policy("a.test"))
        both = policy("a.test", "b.test")
        agent.call("start", name="two", code=KEEPER, policy=both)
        one, two = "a.test=reached b.test=refused", "a.test=reached b.test=reached"
        wait_until(lambda: last(agent, "one") == f"lives {one}", "one")
        wait_until(lambda: last(agent, "two") == f"lives {two}", "two")
        before = workers_of(agent)
        assert len(before) == WORKERS
        owner = before[(first["slot"] + 1) % WORKERS]
        start = len(agent.output("two"))
        os.kill(owner, signal.SIGKILL)
        wait_until(lambda: last(agent, "one") == f"ended {one}", "one, on another")
        after = workers_of(agent)
        assert len(after) == WORKERS
        assert set(before) - set(after) == {owner}
        wait_until(lambda: last(agent, "two", start) != "", "two")
        told = set(agent.output("two")[start:].split("\n")[1:-1])
        assert told == {f"lives {two}"}
        agent.call("update", name="one", policy=both)
        agent.call("update", name="two", policy=policy("b.test"))
        wait_until(lambda: last(agent, "one") == f"ended {two}", "one, with more")
        cut = "ended a.test=refused b.test=reached"
        wait_until(lambda: last(agent, "two") == cut, "two, with less")
    ids = [flow["id"] for flow in agent.flows()]
    assert len(ids) == len(set(ids))
    assert {flow["devbox"][-3:] for flow in agent.flows()} == {"one", "two"}
