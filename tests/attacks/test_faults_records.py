"""Flow records meet a disk that is full: the run goes on, and says what is missing."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import dataclass
from typing import Any

import pytest

from tests.lab import Lab
from tests.lab.stockade import Stockade

#: Denied connections, each of which is a record, and one that is allowed at the end.
FLOWS = """
import http.client, socket
for number in range(60):
    try:
        sock = socket.create_connection((f"{number}.d.test", 7000), timeout=3)
        sock.sendall(b"\\0")
        sock.recv(10)
    except OSError:
        pass
connection = http.client.HTTPConnection("a.test", timeout=5)
connection.request("GET", "/hello")
print(connection.getresponse().status)
"""


@dataclass(frozen=True, slots=True)
class Written:
    """A run whose records went to a file system of a certain size."""

    done: subprocess.CompletedProcess[str]
    flows: list[dict[str, Any]]

    @property
    def lost(self) -> int:
        """How many records it says are not in the file."""
        found = re.search(r"stockade: (\d+) flow records are not in", self.done.stderr)
        return int(found[1]) if found else 0


def run_on(lab: Lab, stockade: Stockade, size: str, *options: str) -> Written:
    """Run `FLOWS` with its records on a file system of that size."""
    place, copy = lab.directory / "small", lab.directory / "copy"
    place.mkdir(exist_ok=True)
    # The mount is seen by this command alone, and gone with it.
    script = (
        f'mount -t tmpfs -o size={size} tmpfs {place} && "$@"; status=$?; '
        f"cp {place}/f {copy}; exit $status"
    )
    argv = stockade.argv(
        *options, "--", "python3", "-c", FLOWS, policy="a.test", flows=place / "f"
    )
    done = lab.exec_host(("sh", "-c", script, "sh", *argv))
    return Written(done, [json.loads(line) for line in copy.read_text().splitlines()])


@pytest.fixture
def whole(lab: Lab, stockade: Stockade) -> Written:
    """The control: there is room for all."""
    return run_on(lab, stockade, "1m")


def test_a_full_disk_ends_nothing_and_is_said(
    lab: Lab, stockade: Stockade, whole: Written
) -> None:
    assert (whole.done.returncode, whole.lost) == (0, 0)
    assert whole.done.stdout == "200\n"
    for options in ((), ("-q",)):
        small = run_on(lab, stockade, "8k", *options)
        assert (small.done.returncode, small.done.stdout) == (0, "200\n")
        assert "No space left on device" in small.done.stderr
        assert small.lost > 0
        # Questions asked in one second are one record, so the sum may differ a little.
        assert abs(len(small.flows) + small.lost - len(whole.flows)) <= 10
        assert ("1 host reached" in small.done.stderr) is (not options)
