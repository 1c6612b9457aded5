"""What a devbox is given without asking: descriptors, neighbours, sources of its choice."""

from __future__ import annotations

from tests.attacks.agents import policy, running_agent
from tests.attacks.inside import run_inside
from tests.attacks.processes import wait_until
from tests.lab import Lab
from tests.lab.addresses import v6
from tests.lab.stockade import Stockade
from tests.lab.witness import Destination

X6 = v6(66)


def test_nothing_of_the_host_is_inherited(stockade: Stockade) -> None:
    """A descriptor of a gateway socket, a namespace or a directory would be a way out.

    Every process inside has its three standard streams and nothing else; no process, no
    Unix socket and no keyring of the machine is in sight.
    """
    code = """
def descriptors(pid):
    found = {}
    for number in os.listdir(f"/proc/{pid}/fd"):
        try:
            found[number] = os.readlink(f"/proc/{pid}/fd/{number}")
        except OSError:
            pass
    return found
pids = [pid for pid in os.listdir("/proc") if pid.isdigit()]
control = open("/etc/hostname")
result = {
    "streams": {pid: descriptors(pid) for pid in pids},
    "control": descriptors("self")[str(control.fileno())],
    "commands": [open(f"/proc/{pid}/cmdline").read().split("\\0")[0] for pid in pids],
    "unix": open("/proc/net/unix").read().splitlines()[1:],
    "listening": [line for kind in ("tcp", "tcp6", "udp", "udp6", "raw", "raw6")
                  for line in open(f"/proc/net/{kind}").read().splitlines()[1:]],
    "inherited": [name for name in os.environ if "STOCKADE" in name or "SUDO" in name],
    "cgroup": open("/proc/self/cgroup").read(),
}
"""
    seen = run_inside(stockade, code, policy="all").value
    assert seen["control"].endswith("/etc/hostname")
    beyond = {
        target
        for streams in seen["streams"].values()
        for number, target in streams.items()
        if int(number) > 2 and not target.startswith("/proc/")
    }
    # What the init process waits with, and the control.
    assert beyond == {"anon_inode:[signalfd]", "/etc/hostname"}
    assert len(seen["commands"]) == 2  # The init process and this program.
    assert seen["unix"] == []
    assert seen["listening"] == []
    assert seen["inherited"] == []
    assert {line.rpartition(":")[2] for line in seen["cgroup"].split()} == {"/"}


# The kernel lets anybody bind to an address that is not there (IPV6_FREEBIND), and for
# IPv6 sends with it as the source: spoofing without any privilege.
FREEBIND = """
import json, socket, sys
def send(source):
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(41, 78, 1)
        sock.settimeout(1)
        sock.bind((source, 0))
        sock.sendto(b"freebind", (TARGET, 9999))
        return sock.recv(100).decode()
def tried(source):
    try:
        return send(source)
    except OSError as error:
        return type(error).__name__
print(json.dumps([tried(source) for source in SOURCES]))
"""
SLEEP = "import time; time.sleep(60)"


def test_root_inside_cannot_take_the_source_of_a_neighbour(
    lab: Lab, default_image: None
) -> None:
    """The neighbour may reach the attacker's server; this devbox may not.

    It sends with the neighbour's address, which needs no privilege: dropped and
    counted. From the neighbour itself the same datagram arrives and is answered.
    """
    open_to_x = policy(allowed_cidrs=[{"cidr": f"{X6}/128"}])

    def code(*sources: str) -> str:
        return f"TARGET, SOURCES = {X6!r}, {list(sources)!r}\n{FREEBIND}"

    with running_agent(lab) as agent:
        one = agent.call("start", name="one", code=SLEEP, policy=open_to_x)
        counted, before = agent.call("counters"), lab.packets()
        sources = (one["address6"], "2001:db8::7")
        agent.call("start", name="two", code=code(*sources), policy=policy("a.test"))
        assert agent.call("wait", name="two")["status"] == 0
        assert "freebind" not in agent.output("two")
        spoofed = agent.call("counters")["spoofed"] - counted["spoofed"]
        assert spoofed >= len(sources)
        assert sum((lab.packets() - before).values()) == 0
        assert not [flow for flow in agent.flows() if flow["port"] == 9999]
    with running_agent(lab) as agent:
        before = lab.packets()
        agent.call("start", name="one", code=code("::"), policy=open_to_x)
        wait_until(lambda: "freebind" in agent.output("one"), "an answer")
        assert (lab.packets() - before)[Destination("udp", X6, 9999)] == 1
