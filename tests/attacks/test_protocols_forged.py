"""Packets that no socket would make, with the devbox's own source."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.attacks.agents import Agent, policy, running_agent
from tests.attacks.processes import wait_until
from tests.lab import Lab
from tests.lab.addresses import HOST4, HOST6, INET_MAC, v4, v6
from tests.lab.witness import matching

FORGER = str(Path(__file__).with_name("probes") / "forger.py")
A, X = (v4(10), v6(10)), (v4(66), v6(66))
SLEEP = "import time; time.sleep(120)"
#: What a receiver takes for a datagram, however odd it is.
ACCEPTABLE = {"ordinary", "empty", "255 hops", "1 hops", "evil bit"}


@pytest.fixture(scope="module")
def agent(lab: Lab, default_image: None) -> Iterator[Agent]:
    """A devbox that may reach one address, and a name at it."""
    with running_agent(lab) as running:
        yield running


@pytest.fixture(scope="module")
def devbox(agent: Agent) -> dict[str, str]:
    """What is known of the devbox."""
    ranges = [{"cidr": f"{A[0]}/32"}, {"cidr": f"{A[1]}/128"}]
    allowed = policy("a.test", allowed_cidrs=ranges)
    told = agent.call("start", name="one", code=SLEEP, policy=allowed)
    command = ["nsenter", f"--net=/proc/{told['pid']}/ns/net", "ip", "neigh"]
    seen = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return {
        "network": f"/proc/{told['pid']}/ns/net",
        "source4": told["address4"],
        "source6": told["address6"],
        "next_hop": seen.partition("lladdr ")[2].split()[0],
    }


def forge(devbox: dict[str, str], target: tuple[str, str], *kind: str) -> list[str]:
    """Send all packets, or those of one kind, from the devbox to *target*."""
    source = devbox["source4"], devbox["source6"]
    command = [
        *("nsenter", f"--net={devbox['network']}", sys.executable, FORGER),
        *(*source, *target, devbox["next_hop"], *kind),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    sent: list[str] = json.loads(done.stdout)
    return sent


def relayed(lab: Lab, since: int, count: int) -> bool:
    """Whether so many datagrams have arrived."""
    return len(lab.seen(since=since, kind="udp", port=7777)) == count


def test_no_forged_packet_reaches_what_is_denied(
    lab: Lab, agent: Agent, devbox: dict[str, str]
) -> None:
    """Ports and lengths of 0, wrong checksums, odd flags, data in the SYN, last hops.

    Nothing of it arrives. The same packets from the uplink itself do, which shows that
    they are packets; and the gateway serves on.
    """
    before = lab.packets()
    assert len(forge(devbox, X)) > 70
    time.sleep(0.3)
    assert sum((lab.packets() - before).values()) == 0
    uplink = {
        "network": f"/run/netns/{lab.host}",
        "source4": HOST4,
        "source6": HOST6,
        "next_hop": INET_MAC,
    }
    forge(uplink, X)
    arrived = lab.packets() - before
    for address in X:
        assert matching(arrived, address=address, protocol="tcp") >= 10
        assert matching(arrived, address=address, protocol="udp") >= 8
    before = lab.packets()
    forge(devbox, A, "ordinary")
    lab.wait_for(lambda entry: entry.address == A[1] and entry.data == b"forged")
    assert "Traceback" not in agent.said()


def test_forged_packets_to_what_is_allowed_break_nothing(
    lab: Lab, agent: Agent, devbox: dict[str, str]
) -> None:
    """What is a datagram is relayed, as a datagram of the gateway's own; nothing else is.

    Nothing fails in the gateway, and the next datagram passes.
    """
    for kind in sorted(ACCEPTABLE):
        mark = lab.mark()
        count = len(forge(devbox, A, kind))
        wait_until(partial(relayed, lab, mark, count), kind)
    mark, before = lab.mark(), lab.packets()
    forge(devbox, A)
    time.sleep(0.3)
    arrived = lab.packets() - before
    assert {key.protocol for key in arrived} <= {"udp", "tcp"}
    assert {key.address for key in arrived} == set(A)
    assert not lab.seen(since=mark, kind="http")
    assert {e.data for e in lab.seen(since=mark, kind="udp")} <= {
        *(b"forged"[:size] for size in range(7)),
        b"forgedmore",
    }
    assert "Traceback" not in agent.said()
    mark = lab.mark()
    forge(devbox, A, "ordinary")
    lab.wait_for(lambda entry: entry.data == b"forged", since=mark)
