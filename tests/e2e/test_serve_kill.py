"""A server killed at any moment of any change: nothing acknowledged is lost, nothing left.

Workers create, change and delete as fast as they are answered, until the server dies
between two octets. The moments come from a seed, which is printed; KILL_SEED
repeats a run.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from runloop_api_client import APIConnectionError, APIStatusError, Runloop

from tests.e2e.test_serve_crash import client, leftovers
from tests.lab.serving import Server

pytestmark = pytest.mark.root

_TURNS = 3
#: Long enough for a devbox to be started, suspended and shut down.
_LONGEST = 2.5
_PATIENCE = 20.0
_ENDED = {"failure", "shutdown"}


@dataclass
class Told:
    """What the server acknowledged, and what it was asked when it died."""

    #: Names by policy: what may be found is one of the last two, if one was under way.
    hostnames: dict[str, list[str]] = field(default_factory=dict)
    deleting: set[str] = field(default_factory=set)
    deleted: set[str] = field(default_factory=set)
    devboxes: set[str] = field(default_factory=set)
    shut: set[str] = field(default_factory=set)
    suspended: set[str] = field(default_factory=set)
    snapshots: set[str] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)


@pytest.fixture
def server(default_image: None) -> Iterator[Server]:
    with Server() as started:
        yield started


def change_policies(runloop: Runloop, told: Told, chance: random.Random) -> None:
    """Create one, change it some times, perhaps delete it."""
    number = chance.getrandbits(60)
    made = runloop.network_policies.create(
        name=f"p{number}", allowed_hostnames=["0.test"]
    )
    seen = told.hostnames.setdefault(made.id, ["0.test"])
    for turn in range(1, chance.randint(2, 8)):
        seen.append(f"{turn}.test")
        runloop.network_policies.update(made.id, allowed_hostnames=[f"{turn}.test"])
        del seen[:-1]
    if chance.random() < 0.5:
        told.deleting.add(made.id)
        runloop.network_policies.delete(made.id)
        told.deleted.add(made.id)


def await_status(runloop: Runloop, devbox: str, status: str) -> None:
    """Wait for it. The client's own way takes a server that is gone for a slow one."""
    deadline = time.monotonic() + _PATIENCE
    while runloop.devboxes.retrieve(devbox).status != status:
        assert time.monotonic() < deadline, f"{devbox} is not {status}"
        time.sleep(0.05)


def change_devboxes(runloop: Runloop, told: Told, chance: random.Random) -> None:
    """Create one, take a snapshot of it, suspend it or end it."""
    made = runloop.devboxes.create()
    told.devboxes.add(made.id)
    await_status(runloop, made.id, "running")
    if chance.random() < 0.5:
        told.snapshots.add(runloop.devboxes.snapshot_disk(made.id).id)
    if chance.random() < 0.5:
        runloop.devboxes.suspend(made.id)
        await_status(runloop, made.id, "suspended")
        told.suspended.add(made.id)
    else:
        runloop.devboxes.shutdown(made.id)
        told.shut.add(made.id)


def work(
    server: Server,
    told: Told,
    change: Callable[[Runloop, Told, random.Random], None],
    seed: int,
) -> None:
    """Change until there is no server any more."""
    chance = random.Random(seed)
    with client(server) as runloop:
        while True:
            try:
                change(runloop, told, chance)
            except APIConnectionError:
                return
            except APIStatusError as error:
                told.faults.append(str(error))
                return


def settle(server: Server) -> None:
    """Wait until nothing of a devbox is left on the machine."""
    deadline = time.monotonic() + _PATIENCE
    while (found := leftovers(server)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert found == []


def check(server: Server, told: Told) -> None:
    """What was acknowledged is there; what was not is there whole or not at all."""
    assert told.faults == []
    with client(server) as runloop:
        found = {policy.id: policy for policy in runloop.network_policies.list()}
        assert not told.deleted & set(found)
        for policy, names in told.hostnames.items():
            if policy in told.deleting:
                continue
            (name,) = found[policy].egress.allowed_hostnames
            assert name in names
        for box in told.devboxes:
            status = runloop.devboxes.retrieve(box).status
            if box in told.suspended:
                assert status == "suspended"
            elif box in told.shut:
                assert status == "shutdown"
            else:
                assert status in _ENDED | {"suspended"}, box
        kept = {snapshot.id for snapshot in runloop.devboxes.disk_snapshots.list()}
        assert told.snapshots <= kept
    settle(server)


def test_killed_at_any_moment(server: Server) -> None:
    seed = int(os.environ.get("KILL_SEED") or random.randrange(1 << 32))
    print(f"KILL_SEED={seed}")
    chance = random.Random(seed)
    told = Told()
    for _ in range(_TURNS):
        workers = [
            threading.Thread(
                target=work, args=(server, told, change, chance.getrandbits(32))
            )
            for change in (change_policies, change_devboxes, change_devboxes)
        ]
        for worker in workers:
            worker.start()
        time.sleep(chance.uniform(0.02, _LONGEST))
        server.kill()
        for worker in workers:
            worker.join(30)
            assert not worker.is_alive()
        server.start()
        check(server, told)
    assert told.hostnames
    assert told.devboxes
    # It is as good as new: a devbox starts, and ends.
    with client(server) as runloop:
        made = runloop.devboxes.create_and_await_running()
        assert runloop.devboxes.shutdown(made.id).status == "shutdown"
        for box in told.suspended:
            runloop.devboxes.shutdown(box)
    settle(server)
