"""The ways from a client namespace to the servers: ours, and those of others."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.lab import Lab

#: A server of the benchmark's own stands here (`tests.lab.addresses.DIRECT4`).
SERVER = "203.0.113.201"
NAME = "bench.test"
RANGE = "203.0.113.0/24"
STREAM_PORT = 5201
ECHO_PORT = 5202
_HAPROXY_OFFSET = 10_000
# What a NAT router does: every packet meets connection tracking, a filter, and its
# translation.
_MASQUERADE = """
table ip bench {
    chain forward {
        type filter hook forward priority filter; policy drop;
        ct state established,related accept
        ip saddr 10.99.0.0/16 accept
    }
    chain postrouting {
        type nat hook postrouting priority srcnat;
        ip saddr 10.99.0.0/16 masquerade
    }
}
"""


@dataclass(frozen=True, slots=True)
class Way:
    """How a client reaches the servers: its namespace, and the address to connect to."""

    name: str
    pid: int
    server: str
    port_offset: int = 0
    resolver: str = ""

    def command(self, argv: Sequence[str]) -> list[str]:
        """*argv*, run where the client is."""
        return ["nsenter", f"--net=/proc/{self.pid}/ns/net", *argv]

    def run(self, argv: Sequence[str], timeout: float = 20) -> str:
        """Run a client to its end; what it printed."""
        done = subprocess.run(
            self.command(argv),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{self.name}: {argv[0]}: {done.stderr or done.stdout}")
        return done.stdout


@contextlib.contextmanager
def client() -> Iterator[int]:
    """A namespace for a client, as long as the block runs; its process id."""
    process = subprocess.Popen(
        ["unshare", "--user", "--map-root-user", "--net", "cat"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )
    own = Path("/proc/self/ns/net").readlink()
    try:
        while Path(f"/proc/{process.pid}/ns/net").readlink() == own:
            time.sleep(0.001)
        yield process.pid
    finally:
        process.kill()
        process.wait()
        if process.stdin is not None:
            process.stdin.close()


@contextlib.contextmanager
def gateway(lab: Lab, policy: str) -> Iterator[Way]:
    """The gateway, started as `stockade run` starts it, with one devbox attached.

    *policy* is "all", a host name, or a CIDR.
    """
    with client() as pid:
        holder = subprocess.Popen(
            [
                *lab.host_prefix,
                sys.executable,
                "-m",
                "bench.contenders",
                str(pid),
                policy,
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert holder.stdout is not None
            resolver = holder.stdout.readline().strip()
            if not resolver:
                raise RuntimeError("the gateway did not start")
            way = Way(f"gateway ({policy})", pid, SERVER, resolver=resolver)
            if policy == NAME:  # The lookup that an opaque protocol is judged by.
                way.run(["dig", "+short", f"@{resolver}", NAME])
            yield way
        finally:
            holder.communicate("")


@contextlib.contextmanager
def kernel(lab: Lab) -> Iterator[Way]:
    """Forwarding by the kernel with connection tracking and masquerading."""
    with client() as pid, _link(lab, pid, 1) as ours:
        _do(lab, ["sysctl", "-qw", "net.ipv4.ip_forward=1"])
        _do(lab, ["nft", "-f", "-"], stdin=_MASQUERADE)
        try:
            yield Way("kernel", pid, SERVER, resolver=ours)
        finally:
            lab.exec_host(["nft", "delete", "table", "ip", "bench"])


@contextlib.contextmanager
def haproxy(lab: Lab) -> Iterator[Way]:
    """HAProxy in TCP mode with splicing, one thread."""
    with (
        client() as pid,
        _link(lab, pid, 2) as ours,
        tempfile.TemporaryDirectory() as d,
    ):
        proxies = "".join(
            f"listen p{port}\n bind {ours}:{port + _HAPROXY_OFFSET}\n"
            f" server s {SERVER}:{port}\n"
            for port in (STREAM_PORT, ECHO_PORT)
        )
        config = Path(d, "haproxy.cfg")
        config.write_text(
            "global\n nbthread 1\n maxconn 4000\n"
            "defaults\n mode tcp\n option splice-auto\n option splice-request\n"
            " option splice-response\n timeout connect 5s\n timeout client 60s\n"
            f" timeout server 60s\n{proxies}"
        )
        process = lab.popen_host(
            ["haproxy", "-db", "-f", str(config)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        with _serving(process):
            yield Way("HAProxy", pid, ours, port_offset=_HAPROXY_OFFSET)


@contextlib.contextmanager
def dnsmasq(answer: str) -> Iterator[Way]:
    """dnsmasq in a namespace beside the client's, with the answer at hand."""
    ours, theirs = "10.99.3.1", "10.99.3.2"
    with client() as pid, client() as server_pid:
        server, inside = Way("", server_pid, ""), Way("dnsmasq", pid, "", resolver=ours)
        server.run(
            ["ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth0",
             "netns", str(pid)]
        )  # fmt: skip
        for way, address in ((server, ours), (inside, theirs)):
            way.run(["ip", "addr", "add", f"{address}/30", "dev", "eth0"])
            way.run(["ip", "link", "set", "eth0", "up"])
        argv = [
            "dnsmasq", "--keep-in-foreground", "--no-hosts", "--no-resolv",
            f"--listen-address={ours}", "--bind-interfaces", "--user=root",
            "--pid-file=", "--conf-file=/dev/null", f"--host-record={NAME},{answer}",
        ]  # fmt: skip
        with _serving(subprocess.Popen(server.command(argv))):
            yield inside


@contextlib.contextmanager
def _link(lab: Lab, pid: int, number: int) -> Iterator[str]:
    """A veth pair between the uplink namespace and a client; the uplink's address."""
    ours, theirs = f"10.99.{number}.1", f"10.99.{number}.2"
    name = f"bench{number}"
    for argv in (
        [
            "ip",
            "link",
            "add",
            name,
            "type",
            "veth",
            "peer",
            "name",
            "eth0",
            "netns",
            str(pid),
        ],
        ["ip", "addr", "add", f"{ours}/30", "dev", name],
        ["ip", "link", "set", name, "up"],
    ):
        _do(lab, argv)
    inside = Way("", pid, "")
    inside.run(["ip", "link", "set", "lo", "up"])
    inside.run(["ip", "addr", "add", f"{theirs}/30", "dev", "eth0"])
    inside.run(["ip", "link", "set", "eth0", "up"])
    inside.run(["ip", "route", "add", "default", "via", ours])
    try:
        yield ours
    finally:
        lab.exec_host(["ip", "link", "del", name])


def _do(lab: Lab, argv: Sequence[str], stdin: str | None = None) -> None:
    done = lab.exec_host(argv, input=stdin)
    if done.returncode:
        raise RuntimeError(f"{argv[0]}: {done.stderr}")


@contextlib.contextmanager
def _serving(process: subprocess.Popen[bytes]) -> Iterator[None]:
    time.sleep(0.5)
    if process.poll() is not None:
        raise RuntimeError(f"{process.args!r} ended: {process.returncode}")
    try:
        yield
    finally:
        process.terminate()
        process.wait()


async def _hold(pid: int, policy: str) -> None:
    """Run a gateway with the process *pid* as its devbox, until input ends."""
    from stockade.agent.launch import launch
    from stockade.agent.supervisor import Attachment, GatewaySupervisor
    from stockade.config import load_settings
    from stockade.host.slots import Slot
    from stockade.policy.model import NetworkPolicy
    from stockade.spec import PolicyPush

    launched = launch(load_settings(os.environ))
    launched.network.configure()
    supervisor = GatewaySupervisor(
        *launched.gateways[0], lambda _: None, lambda _: None
    )
    await supervisor.start()
    rule: dict[str, object] = {"allow_all": True}
    if policy == NAME:
        rule = {"allowed_hostnames": [policy]}
    elif policy != "all":
        rule = {"allowed_cidrs": [{"cidr": policy}]}
    push = PolicyPush("bench", 1, NetworkPolicy.from_mapping({"name": "b", **rule}))
    slot = Slot(0)
    addresses = (str(slot.devbox4), str(slot.devbox6))
    await supervisor.attach(Attachment("bench", addresses, push))
    launched.network.attach(slot, pid)
    print(slot.gateway4, flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await supervisor.stop()
    launched.network.stop()


if __name__ == "__main__":
    asyncio.run(_hold(int(sys.argv[1]), sys.argv[2]))
