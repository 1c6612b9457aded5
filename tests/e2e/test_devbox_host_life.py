"""Served devboxes on a machine: start, stop, start again, limits, ends, and sweeps."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from tests.e2e.devbox_hosts import Host, HostFailed, eventually, processes_of
from tests.lab import Lab

pytestmark = pytest.mark.root

MIB = 1 << 20
ROOT = ("root", 0)


@pytest.fixture(scope="module")
def host(lab: Lab, default_image: None) -> Iterator[Host]:
    with Host(lab) as started:
        yield started


def reaches(host: Host, devbox: str, name: str) -> bool:
    """Whether a devbox reaches *name*: what it says, and the lab saw, which agree."""
    mark = host.lab.mark()
    script = f"curl -sf -m 10 -o /dev/null http://{name}/hello"
    status, _, _ = host.tell("sh", name=devbox, script=script)
    seen = bool(host.lab.seen(since=mark, name=name))
    assert seen == (status == 0)
    return seen


def test_files_and_policy_over_its_life(host: Host) -> None:
    host.start("life", allowed=["a.test"])
    assert reaches(host, "life", "a.test")
    assert not reaches(host, "life", "b.test")
    host.sh("life", "echo kept > ~/file; mkdir ~/d; mv ~/d ~/e")
    host.sh("life", "rm /etc/motd", user=ROOT)
    for round_ in (2, 3):
        host.tell("stop", names=["life"])
        assert host.tell("state")["running"] == []
        assert host.tell("state")["disks"] == ["life"]
        with pytest.raises(HostFailed, match="Conflict"):
            host.sh("life", "true")
        host.start("life", allowed=["b.test"], generation=round_)
        assert host.sh("life", "cat ~/file; ls ~; ls /etc/motd || echo gone") == (
            "kept\ne\nfile\ngone\n"
        )
        assert reaches(host, "life", "b.test")
        assert not reaches(host, "life", "a.test")
    said = host.tell("update", names=["life", "none"], allowed=["a.test"], generation=4)
    assert said["life"] == 4
    assert "none" in said["none"]
    assert reaches(host, "life", "a.test")
    # What is asked again changes nothing.
    host.start("life", allowed=["a.test"], generation=5)
    host.tell("destroy", names=["life"])
    host.tell("destroy", names=["life"])
    assert host.tell("state")["disks"] == []
    with pytest.raises(HostFailed, match="NotFound"):
        host.sh("life", "true")


def test_a_disk_is_as_large_as_it_was_asked_to_be(host: Host) -> None:
    host.start("full", "other", disk=128 * MIB)
    fill = "dd if=/dev/zero of=~/big bs=1M count=400"
    status, _, err = host.tell("sh", name="full", script=fill)
    assert status != 0
    assert "No space left on device" in err
    host.sh("other", "dd if=/dev/zero of=~/big bs=1M count=64; stat -c %s ~/big")
    assert host.place("full").joinpath("disk.img").stat().st_blocks * 512 <= 130 * MIB
    # A full disk is no reason not to stop, start, or go on.
    host.tell("stop", names=["full"])
    host.start("full", disk=128 * MIB)
    assert host.sh("full", "rm ~/big && echo x > ~/y && cat ~/y") == "x\n"
    host.tell("destroy", names=["full", "other"])


def test_nobody_else_on_the_machine_reads_a_disk(host: Host) -> None:
    host.start("secret")
    host.tell("snapshot", name="secret", snapshot="secret-1")
    files = [
        host.place("secret") / "disk.img",
        host.directory / "data/snapshots/secret-1",
    ]
    assert [path.stat().st_mode & 0o777 for path in files] == [0o600, 0o600]
    host.tell("destroy", names=["secret"])
    host.tell("delete_snapshot", snapshot="secret-1")


def test_memory_runs_out_of_one_process_and_not_of_the_devbox(host: Host) -> None:
    host.start("memory", memory=96 * MIB)
    hog = "head -c 1G /dev/zero | tail > /dev/null; echo ${PIPESTATUS[1]}"
    assert host.sh("memory", hog) == "137\n"
    assert host.sh("memory", "echo alive") == "alive\n"
    assert host.tell("state")["running"] == ["memory"]
    host.tell("destroy", names=["memory"])


def test_a_devbox_that_ends_by_itself_is_told_of(host: Host) -> None:
    host.start("ended")
    (init,) = processes_of("ended")
    os.kill(init, signal.SIGKILL)
    eventually(lambda: host.tell("state")["ended"])
    ((name, cause, message),) = host.tell("state")["ended"]
    assert (name, cause) == ("ended", "exited")
    assert "137" in message
    assert host.tell("state")["running"] == []
    # Its disk is there until it is destroyed.
    assert host.tell("state")["disks"] == ["ended"]
    host.tell("destroy", names=["ended"])


@pytest.mark.parametrize("user", [("user", 1000), ROOT, ("deploy", 1234)])
def test_its_user_exists_and_has_a_home(host: Host, user: tuple[str, int]) -> None:
    host.start("who", user=user)
    script = "id -un; id -u; cd && pwd && touch here && stat -c %U here"
    name, number = user
    home = "/root" if number == 0 else f"/home/{name}"
    assert host.sh("who", script, user=user) == f"{name}\n{number}\n{home}\n{name}\n"
    host.tell("destroy", names=["who"])


def test_twenty_at_once(host: Host) -> None:
    names = [f"many{number}" for number in range(20)]
    host.start(*names, allowed=["a.test"])
    assert host.tell("state")["running"] == sorted(names)
    assert reaches(host, names[-1], "a.test")
    assert not reaches(host, names[0], "b.test")
    host.tell("destroy", names=names)
    assert host.tell("state")["disks"] == []
    eventually(lambda: not host.loops())
    assert [line for line in host.mounts() if "many" in line] == []
    assert list((host.directory / "run").glob("many*")) == []
    assert list((host.directory / "data/devboxes").iterdir()) == []


def test_what_a_killed_host_left_is_swept(lab: Lab, default_image: None) -> None:
    with Host(lab, ahead=1) as host:
        host.start("runs", "rests", allowed=["a.test"])
        host.sh("rests", "echo kept > ~/file; sync")
        host.tell("stop", names=["rests"])
        host.tell("rest", seconds=2)
        part = host.directory / "data/snapshots/half.part"
        part.write_bytes(b"half")
        host.kill()
        host.launch()
        assert host.tell("state") == {
            "running": [],
            "disks": ["rests", "runs"],
            "snapshots": [],
            "ended": [],
        }
        assert not part.exists()
        assert not list((host.directory / "run").glob("r*s"))
        eventually(lambda: not [line for line in host.loops() if "/r" in line])
        host.start("rests", allowed=["b.test"])
        assert host.sh("rests", "cat ~/file") == "kept\n"
        assert not reaches(host, "rests", "a.test")
        host.tell("destroy", names=["rests", "runs"])
        assert host.tell("state")["disks"] == []
