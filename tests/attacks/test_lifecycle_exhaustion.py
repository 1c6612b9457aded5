"""One devbox takes all it can get; the gateway holds, and the others do not notice."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import pytest

from stockade.gateway.services import Limits
from tests.attacks.agents import Agent, policy, running_agent
from tests.attacks.processes import gateway_of, wait_until
from tests.lab import Lab
from tests.lab.stockade import Stockade

#: What a neighbour waits for an answer at most, on a machine that is busy with the flood.
PROMPT = 1.5

CONNECTIONS = """
import resource, select, socket, time
most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
address = socket.gethostbyname("a.test")
held, poll = {}, select.poll()
for number in range(min(COUNT, most - 50)):
    sock = socket.socket()
    sock.setblocking(False)
    sock.connect_ex((address, 7000))
    poll.register(sock, 0)
    held[sock.fileno()] = sock
    if number % 100 == 0:
        time.sleep(0.01)
broken = {}
for _ in range(80):  # Until the last of them is answered: some are sent twice.
    time.sleep(0.1)
    broken = {number for number, _ in poll.poll(0)}
    states = {sock.getsockopt(6, 11, 1)[0] for number, sock in held.items()
              if number not in broken}
    if states == {1} and len(held) - len(broken) <= CAP:
        break
print("held", len(held) - len(broken), "of", len(held), flush=True)
time.sleep(60)
"""

QUESTIONS = """
import os, socket, struct, time
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
resolver = open("/etc/resolv.conf").read().split()[1]
sock.connect((resolver, 53))
sock.setblocking(False)
print("up", flush=True)
for number in range(COUNT):
    name = os.urandom(12).hex().encode()
    label = bytes((len(name),)) + name + b"\\1w\\4test\\0"
    try:
        sock.send(struct.pack("!6H", number & 0xffff, 256, 1, 0, 0, 0) + label
                  + b"\\0\\1\\0\\1")
        sock.recv(512)
    except OSError:
        pass
    if number % 10 == 0:
        time.sleep(0.001)
print("done", flush=True)
time.sleep(60)
"""

NEIGHBOUR = """
import json, time, urllib.request
taken = []
for _ in range(40):
    started = time.monotonic()
    urllib.request.urlopen("http://b.test/hello", timeout=10).read()
    taken.append(time.monotonic() - started)
print(json.dumps(taken))
"""


def neighbour_is_served(agent: Agent) -> None:
    """Another devbox asks and is answered, promptly each time."""
    agent.call("start", name="two", code=NEIGHBOUR, policy=policy("b.test"))
    assert agent.call("wait", name="two")["status"] == 0, agent.output("two")
    taken = json.loads(agent.output("two"))
    assert len(taken) == 40
    assert max(taken) < PROMPT, taken


@pytest.mark.parametrize("count", [100, 6_000], ids=["modest", "flood"])
def test_connections_of_one_devbox_are_capped(
    lab: Lab, default_image: None, count: int
) -> None:
    """Thousands of connections at once; those beyond the limit are reset and recorded.

    A modest number stays open, every one of them, which is the control.
    """
    cap = Limits().flows
    flood = CONNECTIONS.replace("COUNT", str(count)).replace("CAP", str(cap))
    with running_agent(lab) as agent:
        mark = lab.mark()
        agent.call("start", name="one", code=flood, policy=policy("a.test"))
        wait_until(lambda: "held" in agent.output("one"), "a flood", 20)
        _, held, _, tried = agent.output("one").split()
        assert int(held) == min(int(tried), cap)
        neighbour_is_served(agent)
        arrived = [e for e in lab.since(mark) if (e.kind, e.port) == ("tcp", 7000)]
        assert len(arrived) <= cap
        surplus = [f for f in agent.flows() if f["reason"] == "too_many_flows"]
        assert bool(surplus) == (int(tried) > cap)
        assert len(surplus) < 60  # One record a second says so, not one a connection.


def test_questions_of_one_devbox_are_limited(lab: Lab, default_image: None) -> None:
    """Random names under a wildcard: a flood for the resolver, and a way to carry data.

    A thousand new names may be asked at once, then some a second; the rest is refused.
    """
    limits = Limits()
    with running_agent(lab) as agent:
        mark, started = lab.mark(), time.monotonic()
        code = QUESTIONS.replace("COUNT", "12000")
        agent.call("start", name="one", code=code, policy=policy("*.w.test"))
        wait_until(lambda: "up" in agent.output("one"), "a flood")
        neighbour_is_served(agent)
        wait_until(lambda: "done" in agent.output("one"), "the end of the flood")
        wait_until(
            lambda: any(f["reason"] == "too_many_questions" for f in agent.flows()),
            "a record of it",
        )
        names = {e.name.lower() for e in lab.since(mark) if e.kind == "dns"}
        asked = [name for name in names if name.endswith(".w.test")]
        most = limits.new_name_burst
        most += limits.new_names_per_second * (time.monotonic() - started)
        assert 100 < len(asked) <= most


#: Connections of every kind and end, some of which the gateway has to end itself.
CHURN = """
import socket, struct, sys, time
KINDS = [
    ("a.test", 80, b"GET /hello HTTP/1.1\\r\\nHost: a.test\\r\\n\\r\\n"),
    ("a.test", 80, b"GET / HTTP/1.1\\r\\nHost: d.test\\r\\n\\r\\n"),
    ("a.test", 443, b"\\x16\\x03\\x01\\x00\\x05\\x01\\x00"),
    ("a.test", 7000, b"BYTES 200000\\n"),
    ("a.test", 7000, b""),
    ("d.test", 7000, b"\\0"),
    ("203.0.113.66", 80, b""),
    ("refused.test", 80, b"GET / HTTP/1.1\\r\\nHost: refused.test\\r\\n\\r\\n"),
]
def churn(rounds):
    for number in range(rounds):
        for name, port, first in KINDS:
            sock = socket.socket()
            sock.settimeout(3)
            try:
                sock.connect((name, port))
                sock.sendall(first)
                if number % 3 == 0:
                    sock.settimeout(0.05)
                    sock.recv(100)
                if number % 3 == 1:
                    sock.setsockopt(1, 13, struct.pack("ii", 1, 0))  # SO_LINGER: reset.
            except OSError:
                pass
            sock.close()
            udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            udp.sendto(b"x", ("203.0.113.66", 9999))
            udp.close()
churn(3)
print("warm", flush=True)
sys.stdin.readline()
churn(60)
print("done", flush=True)
time.sleep(60)
"""


def test_nothing_is_left_of_connections_that_have_ended(
    lab: Lab, stockade: Stockade
) -> None:
    """Descriptors of ended connections would use up the gateway in the end.

    As many as before are open after hundreds of connections of every kind and end.
    """
    process = stockade.popen(
        "-q", "--", "python3", "-c", CHURN, policy="a.test refused.test",
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "warm\n"
        open_now = Path(f"/proc/{gateway_of(process.pid)}/fd")
        before = sockets(open_now)
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "done\n"
        wait_until(lambda: sockets(open_now) <= before, "end of connections")
    finally:
        process.terminate()
        _, said = process.communicate(timeout=20)
    assert "Traceback" not in said


def sockets(directory: Path) -> int:
    """How many sockets a process has open."""
    found = 0
    for entry in directory.iterdir():
        try:
            found += str(entry.readlink()).startswith("socket:")
        except OSError:
            continue
    return found
