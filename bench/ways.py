"""The ways from a client namespace to the servers, and what they cost."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.far import ADDRESSES
from tests.lab import Lab

_ROOT = Path(__file__).resolve().parents[1]
_TICK = os.sysconf("SC_CLK_TCK")
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
    """How a client reaches the servers: its namespace, and where to connect to.

    *processes* do the work in between. *prefix* is put before a client's command; a
    *proxy* wants whole URLs in requests, and *headers* with them.
    """

    name: str
    pid: int
    addresses: tuple[str, ...] = ADDRESSES
    port_offset: int = 0
    resolver: str = ""
    resolver_port: int = 53
    processes: tuple[int, ...] = ()
    proxy: bool = False
    prefix: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()

    def command(self, argv: Sequence[str]) -> list[str]:
        """*argv*, run where the client is."""
        return ["nsenter", f"--net=/proc/{self.pid}/ns/net", *self.prefix, *argv]

    def run(self, argv: Sequence[str], timeout: float = 60) -> str:
        """Run a client to its end; what it printed."""
        done = subprocess.run(
            self.command(argv),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            cwd=_ROOT,
        )
        if done.returncode:
            said = (done.stderr or done.stdout).strip()[-500:]
            raise RuntimeError(f"{self.name}: {argv[0]}: {said}")
        return done.stdout

    def near(self, kind: str, port: int, how_much: float) -> dict[str, float]:
        """Run a client of `bench.near`; what it measured."""
        where = ",".join(self.addresses)
        argv = [sys.executable, "-m", "bench.near", kind, where]
        told = self.run([*argv, str(port + self.port_offset), str(how_much)])
        measured: dict[str, float] = json.loads(told)
        return measured

    def cpu(self) -> float:
        """The seconds of processor time that the way's processes have used."""
        return sum(map(cpu_seconds, self.processes))


def cpu_seconds(pid: int) -> float:
    """User and system time of one process (proc(5), stat)."""
    stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2]
    fields = stat.split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def in_turn(
    ways: Sequence[Way], rounds: int, measure: Callable[[Way], dict[str, float]]
) -> dict[str, list[dict[str, float]]]:
    """Measure every way once a round, so that a noisy moment meets all of them.

    What comes of it has `cpu` beside what was measured: processor seconds of the way.
    A peer that fails is not measured any more, and said to have failed.
    """
    samples: dict[str, list[dict[str, float]]] = {way.name: [] for way in ways}
    for _ in range(rounds):
        for way in ways:
            if way.name not in samples:
                continue
            before = way.cpu()
            try:
                measured = measure(way)
            except (RuntimeError, subprocess.TimeoutExpired) as error:
                if way.name.startswith("gateway"):
                    raise
                print(f"  {way.name} failed: {error}", file=sys.stderr)
                del samples[way.name]
                continue
            samples[way.name].append({**measured, "cpu": way.cpu() - before})
    return samples


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
def kernel(lab: Lab) -> Iterator[Way]:
    """Forwarding by the kernel with connection tracking and masquerading."""
    with client() as pid, link(lab, pid, 1) as ours:
        do(lab, ["sysctl", "-qw", "net.ipv4.ip_forward=1"])
        do(lab, ["nft", "-f", "-"], stdin=_MASQUERADE)
        try:
            yield Way("kernel", pid, resolver=ours)
        finally:
            lab.exec_host(["nft", "delete", "table", "ip", "bench"])


@contextlib.contextmanager
def link(lab: Lab, pid: int, number: int) -> Iterator[str]:
    """A veth pair between the uplink namespace and a client; the uplink's address."""
    ours, theirs = f"10.99.{number}.1", f"10.99.{number}.2"
    name = f"bench{number}"
    add = ["ip", "link", "add", name, "type", "veth", "peer", "name", "eth0"]
    do(lab, [*add, "netns", str(pid)])
    do(lab, ["ip", "addr", "add", f"{ours}/30", "dev", name])
    do(lab, ["ip", "link", "set", name, "up"])
    inside = Way("", pid)
    inside.run(["ip", "link", "set", "lo", "up"])
    inside.run(["ip", "addr", "add", f"{theirs}/30", "dev", "eth0"])
    inside.run(["ip", "link", "set", "eth0", "up"])
    inside.run(["ip", "route", "add", "default", "via", ours])
    try:
        yield ours
    finally:
        lab.exec_host(["ip", "link", "del", name])


def do(lab: Lab, argv: Sequence[str], stdin: str | None = None) -> None:
    """Run a command in the uplink namespace; it has to succeed."""
    done = lab.exec_host(argv, input=stdin)
    if done.returncode:
        raise RuntimeError(f"{argv[0]}: {done.stderr}")


@contextlib.contextmanager
def serving(
    process: subprocess.Popen[bytes], seconds: float = 0.5
) -> Iterator[subprocess.Popen[bytes]]:
    """Give a server time to start, and end it after the block."""
    time.sleep(seconds)
    if process.poll() is not None:
        raise RuntimeError(f"{process.args!r} ended: {process.returncode}")
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
