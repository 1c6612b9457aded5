"""Devboxes behind one gateway: each has a resolver, and none has another's."""

from __future__ import annotations

from collections.abc import Iterator

import dns.message
import pytest

from stockade.gateway.dns import MAX_MEMO
from tests.attacks.agents import policy, running_agent
from tests.attacks.asking import framed, message, wire
from tests.attacks.processes import gateway_of, resident
from tests.attacks.seats import Seat
from tests.lab import Lab
from tests.lab.addresses import v4

#: What a gateway may take more for them, in MiB; all of them are 16.
REMEMBERED = 6.0

# Asks about one name in as many ways as there are, `given` of them a round.
ASK_ANEW = """
import json, socket, sys
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.settimeout(3)
sock.connect((sys.stdin.readline().strip(), 53))
head = b"\\0\\1\\1\\0\\0\\1\\0\\0\\0\\0\\0\\1" + b"\\1a\\4test\\0" + b"\\0\\1\\0\\1"
for line in sys.stdin:
    answered, first, count, size = 0, *json.loads(line)
    for number in range(first, first + count):
        option = b"\\xfd\\xe9" + size.to_bytes(2, "big") + b"%08d" % number
        rest = option + bytes(size - 8)
        opt = b"\\0\\0\\x29\\4\\xd0\\0\\0\\0\\0" + len(rest).to_bytes(2, "big") + rest
        sock.send(head + opt)
        answered += b"\\xcb\\0\\x71\\x0a" in sock.recv(4096)
    print(answered, flush=True)
"""


@pytest.fixture(scope="module")
def seats(lab: Lab, default_image: None) -> Iterator[tuple[Seat, Seat]]:
    """One devbox may ask for `a.test`, the other for anything under `w.test`."""
    with running_agent(lab) as agent:
        yield (
            Seat(agent, "one", policy("a.test")),
            Seat(agent, "two", policy("*.w.test")),
        )


def test_at_anothers_resolver_ones_own_policy_holds(
    lab: Lab, seats: tuple[Seat, Seat]
) -> None:
    """Who asks is known by where a question comes from, not by where it goes to."""
    one, two = seats
    number = 0
    for asker, other in ((one, two), (two, one)):
        for seat in (asker, other):
            for server in (seat.told["gateway4"], seat.told["gateway6"]):
                for stream in (False, True):
                    number += 1
                    name = f"n{number}.w.test"
                    mark = lab.mark()
                    answer = ask(asker, server, name, stream=stream)
                    lab.sync()
                    asked = {e.name.lower() for e in lab.since(mark) if e.kind == "dns"}
                    assert asked == ({name} if asker is two else set()), server
                    found = {str(record) for rrset in answer.answer for record in rrset}
                    assert (v4(20) in found) == (asker is two), server


def ask(seat: Seat, server: str, name: str, *, stream: bool) -> dns.message.Message:
    """What *server* says to this devbox."""
    data = message(wire(name))
    seat.open("q", server, 53, udp=not stream)
    assert seat.send("q", framed(data) if stream else data) == {}
    got = seat.recv("q", until=wire(name))
    seat.must(do="close", **{"as": "q"})
    return dns.message.from_wire(got[2 * stream :])


def test_what_was_answered_takes_little_memory(lab: Lab, default_image: None) -> None:
    """A question of four kilobytes, again and again, each time a little different.

    All are answered, from memory, and the gateway does not keep them.
    """
    with running_agent(lab) as agent:
        told = agent.call("start", name="one", code=ASK_ANEW, policy=policy("a.test"))
        agent.call("tell", name="one", line=told["gateway4"])
        assert agent.tell("one", f"[0, {MAX_MEMO}, 20]", 60) == MAX_MEMO
        before = resident(gateway_of(agent.pid))
        mark = lab.mark()
        # As many again, so that the same number is kept, whatever their size.
        asked = agent.tell("one", f"[{MAX_MEMO}, {MAX_MEMO - 100}, 3900]", 60)
        assert asked == MAX_MEMO - 100
        assert resident(gateway_of(agent.pid)) - before < REMEMBERED
        assert len([e for e in lab.since(mark) if e.kind == "dns"]) <= 1
