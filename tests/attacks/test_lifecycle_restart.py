"""What the next gateway knows of a devbox: its latest policy, and what it looked up."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

from tests.attacks.agents import Agent, policy, running_agent
from tests.attacks.processes import gateway_of, wait_until
from tests.lab import Lab

#: Asks DNS once, then connects to those addresses again and again, as an opaque client.
CACHED = """
import socket, time
names = ("a.test", "b.test")
known = {name: socket.gethostbyname(name) for name in names}
print("known", flush=True)
def reach(address):
    with socket.create_connection((address, 7000), timeout=1) as sock:
        sock.settimeout(1)
        sock.sendall(b"\\0opaque\\n")
        return "reached" if sock.recv(100) else "refused"
def said(name):
    try:
        return reach(known[name])
    except OSError as error:
        return "refused"
while True:
    print(*(f"{name}={said(name)}" for name in names), flush=True)
    time.sleep(0.05)
"""


def later(agent: Agent) -> Callable[[], str]:
    """The last whole line that is printed from here on; empty before there is one."""
    start = len(agent.output("one"))

    def last() -> str:
        lines = agent.output("one")[start:].split("\n")[1:-1]
        return lines[-1] if lines else ""

    return last


def test_the_next_gateway_has_the_latest_policy_and_the_lookups(
    lab: Lab, default_image: None
) -> None:
    """A name is taken away, then the gateway is killed: it is not allowed again.

    The other one goes on to be reached at the address that the killed gateway told.
    """
    with running_agent(lab) as agent:
        both = policy("a.test", "b.test")
        agent.call("start", name="one", code=CACHED, policy=both)
        last = later(agent)
        wait_until(lambda: last() == "a.test=reached b.test=reached", "both names")
        agent.call("update", name="one", policy=policy("a.test"))
        last = later(agent)
        wait_until(lambda: last() == "a.test=reached b.test=refused", "one name")
        for _ in range(3):
            gateway, mark, last = gateway_of(agent.pid), lab.mark(), later(agent)
            os.kill(gateway, signal.SIGKILL)
            wait_until(lambda gone=gateway: gateway_of(agent.pid) != gone, "another")  # type: ignore[misc]
            wait_until(lambda now=last: now() == "a.test=reached b.test=refused", "one")  # type: ignore[misc]
            reached = {e.address for e in lab.since(mark) if e.port == 7000}
            assert reached == {lab.v4("a.test")}
        agent.call("update", name="one", policy=both)
        last = later(agent)
        wait_until(lambda: last() == "a.test=reached b.test=reached", "both names")


def test_while_there_is_no_gateway_nothing_is_answered(
    lab: Lab, default_image: None
) -> None:
    """Killed again and again, so that devboxes often meet no gateway at all.

    What is denied is refused or unanswered at every moment, never reached.
    """
    with running_agent(lab) as agent:
        agent.call("start", name="one", code=CACHED, policy=policy("a.test"))
        wait_until(lambda: "known" in agent.output("one"), "a devbox")
        mark = lab.mark()
        for _ in range(6):
            os.kill(gateway_of(agent.pid), signal.SIGKILL)
            time.sleep(0.2)
        assert "b.test=reached" not in agent.output("one")
        names = {e.name.lower() for e in lab.since(mark) if e.kind == "dns"}
        assert names <= {"a.test"}
        assert {e.address for e in lab.since(mark) if e.port == 7000} <= {
            lab.v4("a.test")
        }
        last = later(agent)
        wait_until(lambda: last().startswith("a.test=reached"), "a gateway", 20)
