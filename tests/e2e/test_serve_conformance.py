"""Part of Runloop's own tests, and the client's own shapes: the rest is `make conformance`.

The suite is downloaded with the client; where it cannot be had, its test is skipped.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from runloop_api_client import Runloop

from tests.conformance.__main__ import VERSION
from tests.conformance.run import run_area
from tests.conformance.suite import Unobtainable, obtain
from tests.lab.serving import Server

pytestmark = pytest.mark.root

#: Short ones that concern what this is about; about half a minute in all.
_AREAS = {"sdk: network policy": 20, "executions": 8}


@pytest.fixture(scope="module")
def server(default_image: None) -> Iterator[Server]:
    with Server() as started:
        yield started


@pytest.mark.parametrize("area", _AREAS)
def test_the_clients_own_tests_pass(server: Server, area: str) -> None:
    try:
        suite = obtain(VERSION)
    except Unobtainable as error:
        pytest.skip(f"the suite cannot be had: {error}")
    outcomes = run_area(suite, area, server.variables(), workers=2)
    assert [o for o in outcomes if o.result == "failed"] == []
    assert len(outcomes) == _AREAS[area]


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
def test_answers_have_the_shapes_of_the_client(server: Server) -> None:
    """In its strict mode the client refuses whatever its models do not have."""
    with Runloop(
        base_url=server.url,
        bearer_token=server.key,
        max_retries=0,
        _strict_response_validation=True,
    ) as runloop:
        policy = runloop.network_policies.create(
            name="strict", allowed_hostnames=["a.test"]
        )
        box = runloop.devboxes.create_and_await_running(
            name="strict",
            metadata={"a": "b"},
            launch_parameters={
                "network_policy_id": policy.id,
                "resource_size_request": "X_SMALL",
            },
        )
        boxes = runloop.devboxes
        ran = boxes.execute_sync(box.id, command="echo out; echo err >&2; exit 3")
        assert (ran.stdout, ran.stderr, ran.exit_status) == ("out\n", "err\n", 3)
        started = boxes.execute_async(box.id, command="sleep 60")
        killed = boxes.executions.kill(started.execution_id, devbox_id=box.id)
        assert killed.devbox_id == box.id
        boxes.write_file_contents(box.id, file_path="f", contents="text")
        assert boxes.read_file_contents(box.id, file_path="f") == "text"
        snapshot = boxes.snapshot_disk(box.id, name="s")
        assert [s.id for s in boxes.disk_snapshots.list()] == [snapshot.id]
        assert box.id in [found.id for found in boxes.list()]
        assert boxes.logs.list(box.id).logs is not None
        assert boxes.retrieve_resource_usage(box.id).id == box.id
        boxes.suspend(box.id)
        assert boxes.await_suspended(box.id).status == "suspended"
        boxes.resume(box.id)
        assert boxes.await_running(box.id).metadata == {"a": "b"}
        assert boxes.shutdown(box.id).status == "shutdown"
        boxes.disk_snapshots.delete(snapshot.id)
        found = runloop.network_policies.update(policy.id, description="d")
        assert found.description == "d"
        runloop.network_policies.delete(policy.id)
        assert [p.id for p in runloop.network_policies.list()] == []
