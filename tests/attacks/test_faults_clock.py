"""The clock of the machine jumps, by decades and at every look: nothing depends on it."""

from __future__ import annotations

import ast
import time
from pathlib import Path

import pytest

from tests.attacks.agents import policy, running_agent
from tests.attacks.hooks import hooked
from tests.attacks.seats import Seat
from tests.lab import Lab
from tests.lab.addresses import v4

SOURCES = Path(__file__).resolve().parents[2] / "src" / "stockade"
#: What says on records when something was: for `FlowLog`, and of a served devbox.
RECORDS = {"gateway/main.py", "agent/devbox_host.py"}

#: At each look it is another time.
JUMPING = """
import itertools
real, years = module.time, 86_400 * 365
jumps = itertools.cycle((0, -20 * years, 40 * years, -3600, 3600))
class Clock:
    @staticmethod
    def time():
        return real.time() + next(jumps)
module.time = Clock
"""


def test_a_clock_that_jumps_changes_nothing_but_the_time_on_record(
    lab: Lab, default_image: None
) -> None:
    """Lookups, limits, cached answers and durations go by a clock that cannot be set."""
    env = hooked(lab.directory / "jumping", "stockade.gateway.main", JUMPING)
    lab.set_name("short.test", a=[v4(171)], ttl=1)
    with running_agent(lab, env=env) as agent:
        seat = Seat(agent, "one", policy("short.test", "a.test"))
        address = seat.resolve("short.test")
        seat.open("idle", address, 7000)
        seat.asks("idle", b"hello\n", b"hello")
        for _ in range(10):
            seat.open("c", address, 80)
            seat.asks("c", b"GET /hello HTTP/1.1\r\nHost: short.test\r\n\r\n", b"hello")
        mark = lab.mark()
        seat.resolve("short.test")
        asked = [e for e in lab.since(mark) if e.kind == "dns"]
        time.sleep(1.2)
        seat.resolve("short.test")  # Its time to live is over, and not before.
        assert len([e for e in lab.since(mark) if e.kind == "dns"]) > len(asked)
        assert seat.echoes("idle", b"still\n")
        seat.open("c", v4(13), 80)
        seat.asks("c", b"GET /hello HTTP/1.1\r\nHost: d.test\r\n\r\n", b" 403 ")
        assert seat.update(policy("a.test"))["cut"] >= 1
        assert seat.ended("idle")
        flows = agent.wait_for_flows(10, name="short.test", port=80)
    times = [flow["time"] for flow in flows]
    assert max(times) - min(times) > 86_400  # The clock did jump.
    assert all(0 <= flow["duration"] < 60 for flow in flows)
    assert {flow["reason"] for flow in flows} <= {
        "allowed_hostname",
        "hostname_not_allowed",
    }


def looks(source: str) -> bool:
    """Whether *source* looks at the clock of the machine."""
    return any(
        isinstance(node, ast.Attribute)
        and node.attr in ("time", "time_ns", "now", "utcnow", "today")
        and isinstance(node.value, ast.Name)
        and node.value.id in ("time", "datetime", "date")
        for node in ast.walk(ast.parse(source))
    )


@pytest.mark.parametrize("part", ["policy", "wire", "gateway", "host", "agent"])
def test_only_records_look_at_the_clock_of_the_machine(part: str) -> None:
    """What limits or expires is told the time by a clock that only goes forward."""
    files = {str(p.relative_to(SOURCES)): p for p in (SOURCES / part).glob("**/*.py")}
    found = {name for name, path in files.items() if looks(path.read_text())}
    assert files
    assert found <= RECORDS
    assert looks("import time\ndeadline = time.time() + 1")
    assert looks("from datetime import datetime\ndatetime.now()")
    assert not looks("import time\ndeadline = time.monotonic() + 1")
