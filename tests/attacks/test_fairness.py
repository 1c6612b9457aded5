"""One hostile devbox takes all it can get; quiet ones do not go without.

Whatever the hostile one does, every request of the quiet ones is answered, what it may
have at most is kept to, and the gateway's memory stays within a bound. How much slower
the quiet ones' connections get is in the output (`-rP`) and only roughly bounded here:
`make bench` measures it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stockade.gateway.services import Limits
from tests.attacks.agents import Agent, policy, running_agent
from tests.attacks.processes import gateway_of, resident, wait_until
from tests.lab import Lab
from tests.lab.addresses import v4
from tests.lab.record import Entry

A = v4(10)
LIMITS = Limits()
HOSTILE = Path(__file__).with_name("probes").joinpath("hostile.py").read_text()
#: What a gateway may take, in MiB, whatever one devbox does. It starts with about 30.
MEMORY = 96.0
REST_SECONDS = 1.0

# Asks, connects, requests, without end; a line on standard input begins anew, and is
# answered with the seconds that each took since the last one, and what went wrong.
QUIET = """
import json, socket, sys, threading, time
taken, wrong = [], []
def request():
    started = time.monotonic()
    try:
        with socket.create_connection(("b.test", 80), timeout=20) as sock:
            connected = time.monotonic()
            sock.sendall(b"GET /hello HTTP/1.1\\r\\nHost: b.test\\r\\n\\r\\n")
            assert sock.recv(100).startswith(b"HTTP/1.1 200")
            taken.append(time.monotonic() - started)
    except (OSError, AssertionError) as error:
        wrong.append(f"{type(error).__name__}: {error}")
def work():
    while True:
        request()
        time.sleep(0.02)
threading.Thread(target=work, daemon=True).start()
while sys.stdin.readline():
    print(json.dumps([taken[:], wrong[:]]), flush=True)
    taken.clear(), wrong.clear()
"""


@dataclass(frozen=True, slots=True)
class Attack:
    """What came of a hostile devbox's doings."""

    said: Mapping[str, int]
    #: The hostile devbox's flows, as the gateway counts them.
    flows: int
    records: tuple[Mapping[str, Any], ...]
    seen: tuple[Entry, ...]

    def reasons(self) -> set[str]:
        """The reasons of what was denied."""
        return {flow["reason"] for flow in self.records if flow["verdict"] == "deny"}


def under_attack(lab: Lab, act: str, seconds: float = 3.0) -> Attack:
    """Let one devbox do *act* beside two that work; those have all they ask for.

    The first of them is in another lane of the gateway, the second in the same.
    """
    with running_agent(lab) as agent:
        hostile = agent.call(
            "start", name="one", code=HOSTILE, policy=policy("a.test", "*.w.test")
        )
        for name in ("two", "three"):
            agent.call("start", name=name, code=QUIET, policy=policy("b.test"))
        rest = {name: at_rest(agent, name) for name in ("two", "three")}
        mark = lab.mark()
        agent.call("tell", name="one", line=f"{act} {seconds} a.test")
        wait_until(lambda: "{" in agent.output("one"), "end of it", seconds + 30)
        flows = flows_of(agent, hostile["devbox"])
        memory = resident(gateway_of(agent.pid))
        busy = {name: agent.tell(name, "", 40) for name in rest}
        said = json.loads(agent.output("one"))
        print(f"{act}: {said}, {flows} flows, gateway {memory:.0f} MiB")
        slowest = {}
        for name, quiet in rest.items():
            taken, wrong = busy[name]
            assert wrong == []
            slowest[name] = compare(name, quiet, taken)
        # A lane is a queue: who shares it with the other may wait for long, and is
        # served all the same.
        assert slowest["two"] < max(20 * percentile(rest["two"]), 1.0)
        assert memory < MEMORY
        assert flows <= LIMITS.flows
        return Attack(said, flows, agent.flows(), lab.since(mark))


def at_rest(agent: Agent, name: str) -> list[float]:
    """What requests take while nobody is hostile."""
    agent.tell(name, "")
    time.sleep(REST_SECONDS)
    taken, wrong = agent.tell(name, "")
    assert wrong == []
    assert len(taken) > 3
    return list(taken)


def compare(name: str, rest: list[float], busy: list[float]) -> float:
    """Show what requests took; the slowest hundredth of them while it went on."""
    assert busy
    quiet, disturbed = percentile(rest), percentile(busy)
    print(
        f"{name}: p99 {quiet * 1000:.1f} ms quiet, {disturbed * 1000:.1f} ms "
        f"disturbed ({disturbed / quiet:.1f} x), {len(busy)} requests"
    )
    return disturbed


def percentile(taken: list[float], share: float = 0.99) -> float:
    """What that share of them took at most."""
    return sorted(taken)[min(int(len(taken) * share), len(taken) - 1)]


def flows_of(agent: Agent, devbox: str) -> int:
    """How many flows the gateway has of a devbox."""
    (found,) = [
        entry["flows"]
        for entry in agent.call("status")["devboxes"]
        if entry["devbox"] == devbox
    ]
    return int(found)


pytestmark = pytest.mark.usefixtures("default_image")


def test_twenty_thousand_connections(lab: Lab) -> None:
    """So many at once as it may have, and the others are refused and on record."""
    attack = under_attack(lab, "connects")
    assert attack.said["begun"] > LIMITS.flows
    assert "too_many_flows" in attack.reasons()
    arrived = [e for e in attack.seen if (e.kind, e.port) == ("tcp", 7000)]
    assert len(arrived) <= LIMITS.flows


def test_five_thousand_questions_a_second(lab: Lab) -> None:
    """Random names under a wildcard: so many reach the resolvers as may."""
    attack = under_attack(lab, "questions")
    assert attack.said["asked"] > 2 * LIMITS.new_name_burst
    assert "too_many_questions" in attack.reasons()
    names = {e.name.lower() for e in attack.seen if e.kind == "dns"}
    asked = [name for name in names if name.endswith(".w.test")]
    # The attack and what comes before and after it take less than a minute.
    assert 100 < len(asked) <= LIMITS.new_name_burst + 60 * LIMITS.new_names_per_second


def test_five_hundred_slow_hellos(lab: Lab) -> None:
    """None of them is waited for longer than a hello may take."""
    attack = under_attack(lab, "slow_hellos", LIMITS.sniff_timeout + 3)
    assert attack.said["begun"] == 500
    assert attack.said["alive"] == 0
    assert "no_client_data" in attack.reasons()
    assert not [e for e in attack.seen if e.address == A and e.bytes_in]


def test_headers_without_end(lab: Lab) -> None:
    """A head is read up to its limit, and what is longer is refused."""
    attack = under_attack(lab, "headers")
    assert attack.said["ended"] > 10
    assert "http_unparseable" in attack.reasons()
    assert not [e for e in attack.seen if e.name == "a.test" and e.kind == "http"]


def test_a_megabyte_of_garbage_a_second(lab: Lab) -> None:
    """None of it gets through, and all of it is refused."""
    attack = under_attack(lab, "garbage")
    assert attack.said["ended"] > 20
    assert attack.reasons() >= {"http_unparseable", "tls_unparseable"}
    assert not [e for e in attack.seen if e.address == A and e.bytes_in]


def test_datagrams_from_thousands_of_ports(lab: Lab) -> None:
    """So many exchanges as may be, and nothing to where nothing may go."""
    attack = under_attack(lab, "datagrams")
    assert attack.said["sent"] > LIMITS.udp_flows
    assert attack.flows <= LIMITS.udp_flows
    assert attack.reasons() >= {"too_many_flows", "address_not_allowed"}
    reached = [e for e in attack.seen if e.kind == "udp"]
    assert {e.address for e in reached} == {A}
    assert len({e.peer for e in reached}) <= LIMITS.udp_flows


def test_two_hundred_answers_that_nobody_reads(lab: Lab) -> None:
    """What the devbox does not take is not fetched for it."""
    attack = under_attack(lab, "deaf")
    assert attack.said["unasked"] == 0
    assert attack.flows >= 200
    sent = sum(e.bytes_out for e in attack.seen if e.port == 7000)
    assert sent < 200 * 16 * 2**20
