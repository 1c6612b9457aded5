"""Devboxes of a server, by the official client: disks, policies over their life, limits."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from runloop_api_client import RunloopSDK
from runloop_api_client.sdk import Devbox, NetworkPolicy

from tests.lab import Lab
from tests.lab.relay import reachable
from tests.lab.serving import Server

pytestmark = pytest.mark.root

#: What a devbox says of itself; that it was made ahead is not to be seen.
_FACTS = (
    "hostname; id -un; echo $COLOUR; pwd; cat /proc/self/uid_map | wc -l; "
    "df --output=size / | tail -1; ls /sys/class/net; ls -A /home/user /tmp"
)


@pytest.fixture(scope="module")
def server(lab: Lab, default_image: None) -> Iterator[Server]:
    with Server(lab) as started:
        yield started


@pytest.fixture(scope="module")
def sdk(lab: Lab, server: Server) -> Iterator[RunloopSDK]:
    with (
        reachable(lab, server.url) as url,
        RunloopSDK(base_url=url, bearer_token=server.key, max_retries=0) as client,
    ):
        yield client


def create(
    sdk: RunloopSDK, policy: NetworkPolicy | None = None, **more: object
) -> Devbox:
    launch: dict[str, object] = {"resource_size_request": "X_SMALL"}
    if policy is not None:
        launch["network_policy_id"] = policy.id
    return sdk.devbox.create(launch_parameters=launch, **more)  # type: ignore[arg-type]


def run(devbox: Devbox, command: str) -> tuple[int | None, str]:
    result = devbox.cmd.exec(command)
    return result.exit_code, result.stdout() + result.stderr()


def reaches(lab: Lab, devbox: Devbox, name: str) -> bool:
    """Whether it reaches *name*: both what it says and what the lab saw, which agree."""
    mark = lab.mark()
    status, _ = run(devbox, f"curl -sf -m 10 -o /dev/null http://{name}/")
    seen = bool(lab.seen(since=mark, name=name))
    assert seen == (status == 0)
    return seen


def test_a_full_disk_is_full_for_its_devbox_alone(sdk: RunloopSDK) -> None:
    box, other = create(sdk), create(sdk)
    with contextlib.ExitStack() as stack:
        for each in (box, other):
            stack.callback(each.shutdown)
        status, said = run(box, "fallocate -l 9G ~/big || head -c 9G /dev/zero > ~/big")
        assert status != 0
        assert "No space left" in said
        assert run(other, "fallocate -l 1G ~/small && stat -c %s ~/small")[0] == 0
        # It is not dead: there is room again, once the kernel has let go of the file.
        again = (
            "rm ~/big; for _ in $(seq 100); do echo x > ~/y && break; sleep .1; done"
        )
        run(box, again)
        assert run(box, "cat ~/y") == (0, "x\n")


def test_what_is_in_force_follows_a_devbox_through_its_life(
    sdk: RunloopSDK, lab: Lab
) -> None:
    policy = sdk.network_policy.create(name="life", allowed_hostnames=["a.test"])
    box = create(sdk, policy)
    clone: Devbox | None = None
    try:
        assert reaches(lab, box, "a.test")
        assert not reaches(lab, box, "b.test")
        run(box, "echo kept > ~/file")
        snapshot = box.snapshot_disk(name="s")
        box.suspend()
        box.await_suspended()
        policy.update(allowed_hostnames=["b.test"])
        box.resume()
        box.await_running()
        assert run(box, "cat ~/file") == (0, "kept\n")
        # A devbox from the snapshot is under the policy as it is now, too.
        clone = sdk.devbox.create_from_snapshot(snapshot.id)
        assert run(clone, "cat ~/file && echo changed > ~/file") == (0, "kept\n")
        for each in (box, clone):
            assert reaches(lab, each, "b.test")
            assert not reaches(lab, each, "a.test")
        assert run(box, "cat ~/file") == (0, "kept\n")
        snapshot.delete()
        assert run(clone, "cat ~/file") == (0, "changed\n")
    finally:
        for made in (box, clone):
            if made is not None:
                made.shutdown()
    policy.delete()


def test_devboxes_made_ahead_are_like_others(sdk: RunloopSDK) -> None:
    """Of five at once some are claimed and some made; nobody can tell which."""
    boxes = [create(sdk, environment_variables={"COLOUR": "red"}) for _ in range(5)]
    try:
        said = {run(box, _FACTS) for box in boxes}
    finally:
        for box in boxes:
            box.shutdown()
    assert len(said) == 1, said
    _, text = said.pop()
    assert text.split()[:3] == ["devbox", "user", "red"]


def test_nothing_is_left_of_what_was_shut_down(sdk: RunloopSDK, server: Server) -> None:
    assert server.process is not None
    mounts = Path(f"/proc/{server.process.pid}/mounts")
    boxes = [create(sdk) for _ in range(2)]
    assert all(box.id in mounts.read_text() for box in boxes)
    for box in boxes:
        box.shutdown()
    loops = [
        place.read_text()
        for place in Path("/sys/block").glob("loop*/loop/backing_file")
    ]
    for box in boxes:
        assert box.id not in mounts.read_text()
        assert not any(box.id in loop for loop in loops)
        assert not (server.data / "devboxes" / box.id).exists()
        assert not list((server.directory / "run").glob(f"{box.id}*"))
