"""The gateway dies, stops, hangs, or has nothing left to work with.

Nothing leaks meanwhile; what can be repaired is, without anybody's help, and devboxes do
not have to do anything for it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator

import pytest

from tests.attacks.agents import Agent, policy, running_agent
from tests.attacks.hooks import hooked
from tests.attacks.processes import gateway_of, is_alive, wait_until
from tests.attacks.seats import Seat
from tests.lab import Lab
from tests.lab.addresses import v4
from tests.lab.stockade import Stockade

#: Machines are busy at times; users expect less than a second.
SOON = 5.0
REQUEST = b"GET /hello HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n"
Y4 = v4(68)  # The attacker of this file.

HANG = "import time; module.ControlService._status = lambda self: time.sleep(600)"
FEW_DESCRIPTORS = """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
"""
LITTLE_MEMORY = """
import resource
made = module.Gateway.__init__
def limited(self, *args):
    made(self, *args)
    pages = int(open("/proc/self/statm").read().split()[0])
    most = pages * resource.getpagesize() + (1 << 21)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
module.Gateway.__init__ = limited
"""


@pytest.fixture(scope="module")
def agent(lab: Lab, default_image: None) -> Iterator[Agent]:
    with running_agent(lab) as started:
        yield started


@pytest.fixture(scope="module")
def seats(agent: Agent) -> tuple[Seat, Seat]:
    return two_seats(agent)


def two_seats(agent: Agent) -> tuple[Seat, Seat]:
    return Seat(agent, "one", policy("a.test")), Seat(agent, "two", policy("b.test"))


@pytest.fixture(autouse=True)
def nothing_leaks(lab: Lab) -> Iterator[None]:
    """Whatever happens, nothing gets to the attacker."""
    before = lab.packets()
    yield
    assert not [key for key in lab.packets() - before if key.address == Y4]


def reaches(seat: Seat, name: str, address: str, patience: float = 1.0) -> bool:
    """Whether one request is answered; one to the attacker is tried beside it."""
    for sock, host in (("attack", Y4), ("c", address)):
        step = {"do": "connect", "as": sock, "host": host, "port": 80}
        if "error" in seat.do(**step, patience=patience) and sock == "c":
            return False
        seat.send(sock, REQUEST % name.encode())
    got = seat.recv("c", b"hello", patience=patience)
    return b"hello" in got


def until_served(seats: tuple[Seat, Seat], *names: str) -> float:
    """How long it takes until both devboxes are answered again."""
    started = time.monotonic()
    for seat, name in zip(seats, names or ("a.test", "b.test"), strict=True):
        address = {"a.test": v4(10), "b.test": v4(11)}[name]
        while not reaches(seat, name, address):
            assert time.monotonic() - started < SOON
    return time.monotonic() - started


def idle(seat: Seat) -> None:
    """Have one connection open."""
    seat.open("idle", seat.resolve("a.test"), 7000)
    seat.asks("idle", b"hello\n", b"hello")


def test_a_killed_gateway_is_replaced_each_time(
    agent: Agent, seats: tuple[Seat, Seat]
) -> None:
    """Also when it is killed again and again: a gateway that served is missed."""
    until_served(seats)
    taken = []
    for _ in range(5):
        gateway = gateway_of(agent.pid)
        os.kill(gateway, signal.SIGKILL)
        taken.append(until_served(seats))
        assert gateway_of(agent.pid) != gateway
    print("served again after", [f"{seconds:.2f} s" for seconds in taken])


def test_a_stopped_gateway_goes_on(agent: Agent, seats: tuple[Seat, Seat]) -> None:
    """It is told to, and its connections are whole."""
    idle(seats[0])
    gateway = gateway_of(agent.pid)
    os.kill(gateway, signal.SIGSTOP)
    print(f"served again after {until_served(seats):.2f} s")
    assert gateway_of(agent.pid) == gateway
    assert seats[0].echoes("idle", b"still\n")
    assert "was stopped from outside" in agent.said()


def test_a_gateway_that_is_stopped_all_the_time_is_replaced(
    agent: Agent, seats: tuple[Seat, Seat]
) -> None:
    gateway = gateway_of(agent.pid)
    over = threading.Event()

    def stop() -> None:
        while is_alive(gateway) and not over.wait(0.01):
            try:
                os.kill(gateway, signal.SIGSTOP)
            except ProcessLookupError:
                return

    thread = threading.Thread(target=stop)
    thread.start()
    try:
        wait_until(lambda: not is_alive(gateway), "end of the gateway")
    finally:
        over.set()
        thread.join()
    until_served(seats)
    assert gateway_of(agent.pid) != gateway


def test_a_gateway_that_hangs_is_replaced(lab: Lab, default_image: None) -> None:
    """Its loop does not turn any more; it answers nobody, but its process is there."""
    env = hooked(lab.directory / "hang", "stockade.gateway.control", HANG)
    with running_agent(lab, env=env) as agent:
        pair = two_seats(agent)
        until_served(pair)
        gateway = gateway_of(agent.pid)
        started = time.monotonic()
        agent.ask("status")
        assert agent.answer()["kind"] == "GatewayGone"
        print(f"given up after {time.monotonic() - started:.2f} s")
        until_served(pair)
        assert gateway_of(agent.pid) != gateway
        assert "it has not answered for 5 s" in agent.said()


def test_an_agent_that_does_not_run_keeps_nobody_waiting(
    agent: Agent, seats: tuple[Seat, Seat]
) -> None:
    """Stopped, then busy for longer than a gateway may be silent: that is not to blame."""
    idle(seats[0])
    gateway = gateway_of(agent.pid)
    os.kill(agent.pid, signal.SIGSTOP)
    time.sleep(1.0)
    os.kill(agent.pid, signal.SIGCONT)
    assert seats[0].echoes("idle", b"still\n")
    agent.ask("block", seconds=6.0)
    agent.answer()
    assert seats[0].echoes("idle", b"still\n")
    until_served(seats)
    time.sleep(1.0)
    assert gateway_of(agent.pid) == gateway


def test_devboxes_do_not_notice_that_their_agent_does_not_run(
    lab: Lab, stockade: Stockade
) -> None:
    """The gateway decides by itself: the agent is there to start and to be told."""
    script = "while :; do curl -fsS -m 5 http://a.test/hello; sleep 0.05; done"
    process = stockade.popen(
        "-q", "--", "bash", "-c", script, policy="a.test", stdout=subprocess.DEVNULL
    )
    mark = lab.mark()
    lab.wait_for(lambda entry: entry.kind == "http", since=mark, timeout=20)
    os.kill(process.pid, signal.SIGSTOP)
    try:
        mark = lab.mark()
        lab.wait_for(lambda entry: entry.id > mark + 10, since=mark)
    finally:
        os.kill(process.pid, signal.SIGCONT)
        process.terminate()
    process.wait(20)


def test_without_descriptors_it_waits_for_some(lab: Lab, default_image: None) -> None:
    """The machine allows few: then each devbox gets few connections.

    Three together can still take all that there are. What does not fit then fails or
    waits; the rest lives, policies change, and all is well once some are given back.
    """
    env = hooked(lab.directory / "few", "stockade.gateway.settings", FEW_DESCRIPTORS)
    with running_agent(lab, env=env) as agent:
        names = ("one", "two", "three")
        seats = tuple(Seat(agent, name, policy("a.test")) for name in names)
        gateway = gateway_of(agent.pid)
        idle(seats[1])
        assert hold(seats[0], 30) == 100 // 8
        agent.wait_for_flows(1, reason="too_many_flows")
        for _ in range(5):
            assert reaches(seats[1], "a.test", v4(10))
        assert sum(hold(seat, 15) for seat in seats[1:]) < 2 * (100 // 8) - 1
        assert seats[1].echoes("idle", b"still\n")
        assert seats[1].update(policy("a.test", "b.test"))["cut"] == 0
        for seat in seats:
            for number in range(30):
                seat.do(do="close", **{"as": f"{number}"})
        until_served((seats[0], seats[2]), "a.test", "a.test")
        assert gateway_of(agent.pid) == gateway


def hold(seat: Seat, count: int) -> int:
    """Open connections, and say how many of them are served."""
    address = seat.resolve("a.test")
    for number in range(count):
        seat.do(do="connect", **{"as": f"{number}"}, host=address, port=7000)
        seat.send(f"{number}", b"hello\n")
    served = [seat.recv(f"{number}", patience=0.3) for number in range(count)]
    return served.count(b"hello\n")


def test_without_memory_it_goes_on_or_is_replaced(
    lab: Lab, default_image: None
) -> None:
    env = hooked(lab.directory / "little", "stockade.gateway.main", LITTLE_MEMORY)
    with running_agent(lab, env=env) as agent:
        pair = two_seats(agent)
        until_served(pair)
        large = policy(*(f"{n}.{'x' * 60}.test" for n in range(900)), "a.test")
        for _ in range(10):
            pair[0].update(large)
            reaches(pair[1], "b.test", v4(11), patience=0.2)
        pair[0].update(policy("a.test"))
        print(f"served after {until_served(pair):.2f} s", agent.said()[-300:])


def test_a_run_outlives_its_gateway_being_stopped(lab: Lab, stockade: Stockade) -> None:
    """`stockade run` as users have it: the command notices a pause, and nothing else."""
    script = (
        "for i in $(seq 40); do curl -fsS -m 5 http://a.test/hello; sleep 0.05; done"
    )
    process = stockade.popen(
        "-q", "--", "bash", "-ec", script, policy="a.test", stdout=subprocess.DEVNULL
    )
    mark = lab.mark()
    lab.wait_for(lambda entry: entry.kind == "http", since=mark, timeout=20)
    os.kill(gateway_of(process.pid), signal.SIGSTOP)
    assert process.wait(30) == 0
    assert len([e for e in lab.since(mark) if e.kind == "http"]) == 40
