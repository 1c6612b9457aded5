"""What root inside asks of the kernel without any tool: messages, files, other calls."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.lab import Lab
from tests.lab.stockade import Stockade

PROBES = Path(__file__).with_name("probes")
PROBE = "kernelside.py"


def inside(stockade: Stockade, *wanted: str, policy: str = "all") -> dict[str, Any]:
    """What the probe is told inside a devbox."""
    run = stockade.run(
        *("--mount", f"{PROBES}:/probes:ro", "--"),
        *("python3", f"/probes/{PROBE}", "eth0", *wanted),
        policy=policy,
    )
    assert run.returncode == 0, run.stderr
    told: dict[str, Any] = json.loads(run.stdout)
    return told


def outside(prefix: tuple[str, ...], interface: str, *wanted: str) -> dict[str, Any]:
    """What the same probe is told by the same kernel, without a devbox around it."""
    command = [*prefix, sys.executable, str(PROBES / PROBE), interface, *wanted]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def test_no_message_changes_a_network(stockade: Stockade) -> None:
    """Links, addresses, routes, rules, neighbours, rulesets, by netlink itself.

    Reading is allowed. In a network of its own, which is what a devbox would have to be
    root of, the kernel does what the same messages say.
    """
    told = inside(stockade, "netlink")
    assert told["links"] == ["lo", "eth0"]
    assert set(told["netlink"].values()) <= {"EPERM", "no socket: EPROTONOSUPPORT"}
    setup = "ip link add ab0 type veth peer name ab1 && ip link set ab0 up"
    alone = ("unshare", "--net", "sh", "-c", f'{setup} && exec "$@"', "sh")
    control = outside(alone, "ab0", "netlink")["netlink"]
    done = {name for name, said in control.items() if said == "done"}
    assert done >= {"link veth", "address", "rule", "neighbour", "route", "link down"}
    assert control.keys() == told["netlink"].keys()
    assert "EPERM" not in control.values()


def test_no_file_of_the_kernel_can_be_written(stockade: Stockade) -> None:
    """`/proc/sys`, `/sys`, `/proc/sysrq-trigger`: forwarding, core patterns, modules.

    Each file is opened to be written; on the machine itself hundreds can be.
    """
    told = inside(stockade, "files")
    assert told["files"] == []
    settings = [f"{d}/{n}" for d, _, names in os.walk("/proc/sys") for n in names]
    assert sum(os.access(path, os.W_OK) for path in settings) > 100


def test_calls_of_32_bit_programs_are_no_way_around_the_filter(
    stockade: Stockade,
) -> None:
    """`int 0x80` has other numbers for the same calls; a filter that reads the numbers
    of one convention would let them all pass.

    The process that tries is ended. Outside, the kernel serves them.
    """
    if os.uname().machine != "x86_64":
        pytest.skip("a convention of x86_64")
    control = outside((), "lo", "convention")["convention"]
    if control["getpid"] != "done":
        pytest.skip("this kernel has no calls of 32-bit programs")
    assert control["packet socket"] == control["new network"] == "done"
    told = inside(stockade, "convention")["convention"]
    assert set(told.values()) == {"SIGSYS"}


LISTEN = """
import socket, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind("\\0" + sys.argv[1])
listener.listen()
print("listening", flush=True)
while True:
    listener.accept()[0].close()
"""


@contextmanager
def listening(prefix: tuple[str, ...], name: str) -> Iterator[None]:
    """A service of the machine on an abstract Unix socket."""
    command = [*prefix, sys.executable, "-c", LISTEN, name]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"listening\n"
        try:
            yield
        finally:
            process.terminate()


def test_abstract_sockets_of_the_machine_are_out_of_reach(
    lab: Lab, stockade: Stockade
) -> None:
    """They belong to a network namespace and have no permissions at all.

    One listens where `stockade` runs, one on the machine: whoever is there reaches it.
    """
    host, machine = f"uplink-{os.getpid()}", f"machine-{os.getpid()}"
    uplink = ("nsenter", f"--net=/run/netns/{lab.host}")
    with listening(uplink, host), listening((), machine):
        names = f"@{host}", f"@{machine}"
        assert inside(stockade, *names)["abstract"] == {
            host: "ECONNREFUSED",
            machine: "ECONNREFUSED",
        }
        assert outside(uplink, "lo", *names)["abstract"][host] == "done"
        assert outside((), "lo", *names)["abstract"][machine] == "done"
