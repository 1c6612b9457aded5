"""The machine's own administrator, or firewall, changes the gateway namespace."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.attacks import processes
from tests.attacks.namespaces import ask, tamper
from tests.attacks.storm import STORM
from tests.lab import Lab
from tests.lab.addresses import v4, v6
from tests.lab.stockade import Stockade
from tests.lab.witness import Destination

A, X = v4(10), (v4(66), v6(66))
LOOP = "while :; do curl -sS -m 1 http://a.test/hello >/dev/null 2>&1; sleep 0.1; done"

RULES = (
    "nft list ruleset; ip rule; ip -6 rule; ip route show table 100; "
    "ip -6 route show table 100; cat /proc/sys/net/ipv4/ip_forward"
)
TAMPERING = [
    pytest.param("nft flush ruleset", id="flushed"),
    pytest.param(
        "nft insert rule inet stockade identity accept; "
        "nft insert rule inet stockade divert accept; "
        "nft insert rule inet stockade input accept; "
        "nft insert rule inet stockade forward accept; "
        "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1",
        id="everything accepted and forwarded",
    ),
    pytest.param(
        "nft add table ip6 odd; "
        "nft add map ip6 odd odd '{ type ipv6_addr : verdict; "
        "elements = { ::1 : accept } }'; "
        "nft add table netdev odd; "
        "nft add set inet stockade odd '{ type ipv4_addr; flags interval, timeout; "
        "elements = { 10.0.0.0/8 timeout 1h } }'; "
        "nft add element inet stockade sources4 '{ sb7 . 203.0.113.10 }'; "
        "nft add counter inet stockade odd",
        id="tables, maps and elements that are not ours",
    ),
    pytest.param(
        "ip rule del fwmark 1; ip -6 rule del fwmark 1; ip route flush table 100",
        id="no way to the sockets",
    ),
]


@contextmanager
def running(stockade: Stockade, script: str) -> Iterator[subprocess.Popen[str]]:
    """A devbox that runs *script* until the end of the block, and its words."""
    process = stockade.popen(
        "-q", "--", "bash", "-c", script, policy="a.test",
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.terminate()
        process.wait(20)
        assert process.stderr is not None
        process.stderr.close()


def collector(process: subprocess.Popen[str]) -> list[str]:
    """Gather what *process* says, as it says it."""
    assert process.stderr is not None
    lines: list[str] = []
    reader = process.stderr

    def read() -> None:
        try:
            lines.extend(iter(reader.readline, ""))
        except ValueError:
            pass  # Closed at the end of the test.

    threading.Thread(target=read, daemon=True).start()
    return lines


@pytest.mark.parametrize("script", TAMPERING)
def test_a_changed_gateway_leaks_nothing_and_is_repaired(
    lab: Lab, stockade: Stockade, script: str
) -> None:
    """Something outside changes the rules while a devbox tries every way out.

    Without rules there is no route, so nothing passes; some seconds later the ruleset
    is what it was, and allowed requests work again.
    """
    before = lab.packets()
    with running(stockade, f"python3 -c '{STORM}' 60 0.01 & {LOOP}") as process:
        said = collector(process)
        lab.wait_for(is_request, timeout=15, since=lab.mark())
        whole = stable(ask(process.pid, RULES))
        tamper(process.pid, script)
        assert stable(ask(process.pid, RULES)) != whole
        processes.wait_until(
            lambda: any("network was changed" in line for line in said), "warning"
        )
        lab.wait_for(is_request, timeout=10, since=lab.mark())
        assert stable(ask(process.pid, RULES)) == whole
        assert process.poll() is None
    counted = lab.packets() - before
    assert not [key for key in counted if key.address in X]
    assert counted[Destination("tcp", A, 80)]


def is_request(entry: object) -> bool:
    return getattr(entry, "kind", None) == "http"


def stable(text: str) -> str:
    """Rules without what changes by itself: packet counts."""
    return "\n".join(line for line in text.splitlines() if "packets " not in line)


def test_a_namespace_without_rules_leads_nowhere(lab: Lab, stockade: Stockade) -> None:
    """The claim behind the repair: while the rules are away, there is still no way out.

    The rules are taken away again and again, faster than they are repaired.
    """
    before = lab.packets()
    flush: Callable[[int], None] = lambda pid: tamper(pid, "nft flush ruleset")  # noqa: E731
    with running(stockade, f"python3 -c '{STORM}' 60 0.01") as process:
        collector(process)
        init = processes.init_of(process.pid)
        processes.wait_until(
            lambda: any("python3" in line for _, line in processes.children(init)),
            "a storm",
        )
        for _ in range(20):
            flush(process.pid)
        assert process.poll() is None
    assert not [key for key in lab.packets() - before if key.address in X]
    control = stockade.run("-q", "--", "python3", "-c", STORM, "0.1", policy="all")
    assert control.saw(address=X[0])
