"""A server that is killed: what was acknowledged is there, and nothing is left over."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from runloop_api_client import Runloop

from stockade.config import Settings
from tests.lab.serving import Server

pytestmark = pytest.mark.root

_PATIENCE = 20.0
_AHEAD = re.compile(r"ahead-[0-9a-f]+")


@pytest.fixture
def server(default_image: None) -> Iterator[Server]:
    with Server() as started:
        yield started


def client(server: Server) -> Runloop:
    return Runloop(base_url=server.url, bearer_token=server.key, max_retries=0)


def eventually(what: Callable[[], Any]) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not what():
        assert time.monotonic() < deadline, "it does not come to that"
        time.sleep(0.05)


def leftovers(server: Server) -> list[str]:
    """What a devbox of *server* would leave on the machine.

    A server that runs has some made ahead; what is left of a killed one would be more.
    """
    run = server.directory / "run"
    found = [path.name for path in run.glob("dbx_*")] if run.exists() else []
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    found += [line for line in mounts if str(server.directory) in line]
    listed = subprocess.run(
        ("ps", "-eo", "args"), capture_output=True, text=True, check=True
    )
    found += [
        line
        for line in listed.stdout.splitlines()
        if str(run) in line and "ps" not in line
    ]
    ahead = {name for line in found for name in _AHEAD.findall(line)}
    ahead |= {path.name for path in run.glob("ahead-*")}
    if len(ahead) > Settings().warm_pool:
        return found + sorted(ahead)
    return [line for line in found if not _AHEAD.search(line)]


def test_what_was_acknowledged_survives_a_kill(server: Server) -> None:
    with client(server) as runloop:
        policy = runloop.network_policies.create(
            name="kept", allowed_hostnames=["a.test"]
        )
        runloop.network_policies.update(policy.id, allowed_hostnames=["b.test"])
    server.kill()
    server.start()
    with client(server) as runloop:
        found = runloop.network_policies.retrieve(policy.id)
        assert found.egress.allowed_hostnames == ["b.test"]
        assert found.update_time_ms > found.create_time_ms


def test_a_running_devbox_is_reported_as_failed(server: Server) -> None:
    with client(server) as runloop:
        devbox = runloop.devboxes.create_and_await_running(name="lost")
        assert leftovers(server) != []
    server.kill()
    server.start()
    with client(server) as runloop:
        found = runloop.devboxes.retrieve(devbox.id)
        assert (found.status, found.failure_reason) == (
            "failure",
            "health_check_failed",
        )
    eventually(lambda: leftovers(server) == [])


def test_a_suspended_devbox_keeps_its_disk(server: Server) -> None:
    with client(server) as runloop:
        devbox = runloop.devboxes.create_and_await_running(name="kept")
        runloop.devboxes.write_file_contents(
            devbox.id, file_path="note", contents="still here"
        )
        runloop.devboxes.suspend(devbox.id)
        runloop.devboxes.await_suspended(devbox.id)
    server.kill()
    server.start()
    with client(server) as runloop:
        assert runloop.devboxes.retrieve(devbox.id).status == "suspended"
        runloop.devboxes.resume(devbox.id)
        runloop.devboxes.await_running(devbox.id)
        said = runloop.devboxes.read_file_contents(devbox.id, file_path="note")
        assert said == "still here"
        runloop.devboxes.shutdown(devbox.id)


def test_killed_while_devboxes_are_being_created(server: Server) -> None:
    """At some point of each of several creates; none of it is left."""
    with client(server) as runloop:
        made = [runloop.devboxes.create(name=f"n{number}") for number in range(6)]
    server.kill()
    server.start()
    with client(server) as runloop:
        states = [runloop.devboxes.retrieve(devbox.id).status for devbox in made]
        assert set(states) <= {"failure", "shutdown"}
    eventually(lambda: leftovers(server) == [])
