"""Snapshots of served devboxes, what is on their disks, and devboxes made ahead."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.devbox_hosts import Host, HostFailed, eventually, processes_of
from tests.lab import Lab

pytestmark = pytest.mark.root

MIB = 1 << 20
ROOT = ("root", 0)

#: What a devbox can see of itself. Nobody is to see whether it was made ahead.
FACTS = """
hostname; id; env | grep -v ^OLDPWD | sort; pwd; tr '\\0' '\\n' </proc/1/environ | sort
cat /proc/1/cmdline | tr '\\0' ' '; cat /proc/self/limits; ls -A /; ls -lA /home /home/user
cat /sys/fs/cgroup/*/*limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null
cat /etc/passwd /etc/hosts; df -B1 --output=size /; ls /sys/class/net; ip route | wc -l
grep -E '^(Cap|Seccomp|NoNew)' /proc/self/status
"""
#: A disk on which nothing is to be followed, opened or run by the host.
TRICKS = """
ln -s / /everything; ln -s /etc/passwd /home/user/link; mkfifo /fifo
cp /bin/id /home/user/root-id; chown root: /home/user/root-id
chmod 6755 /home/user/root-id; mknod /null c 1 3 2>/dev/null || true
rm -rf /home/user/.. 2>/dev/null; rm -f /etc/motd; rm -rf /usr/games
ln /bin/id /home/user/hard; mkdir -p /opt/a/b && mv /opt/a /opt/c
touch "/home/user/$(printf 'line\\nbreak')"; chown 1234:77 /opt/c/b; truncate -s 9G /sparse
"""
LISTED = """
cd / && readlink everything home/user/link; stat -c '%F %a %u %g %s' fifo home/user/root-id
ls -d etc/motd usr/games opt/a 2>&1 | wc -l; stat -c '%u:%g' opt/c/b; ls home/user | wc -l
stat -c %s sparse; home/user/root-id -u
"""


@pytest.fixture(scope="module")
def host(lab: Lab, default_image: None) -> Iterator[Host]:
    with Host(lab) as started:
        yield started


@pytest.fixture
def warm(lab: Lab, default_image: None) -> Iterator[Host]:
    with Host(lab, ahead=2) as started:
        yield started


def test_a_devbox_from_a_snapshot_of_one_that_runs(host: Host) -> None:
    host.start("origin")
    host.sh("origin", "echo first > ~/file")
    # Something writes all the time, and may go on as soon as the copy is made.
    host.sh("origin", "(while date >> ~/log; do :; done) >/dev/null 2>&1 &")
    size = host.tell("snapshot", name="origin", snapshot="snap")
    assert 0 < size <= 257 * MIB
    before = int(host.sh("origin", "stat -c %s ~/log"))
    eventually(lambda: int(host.sh("origin", "stat -c %s ~/log")) > before)
    host.sh("origin", "echo second > ~/file")
    host.start("copy", "copy2", snapshot="snap")
    assert host.sh("copy", "cat ~/file && echo third > ~/file") == "first\n"
    host.tell("delete_snapshot", snapshot="snap")
    host.tell("delete_snapshot", snapshot="snap")
    host.tell("destroy", names=["origin"])
    assert host.sh("copy2", "cat ~/file") == "first\n"
    host.tell("stop", names=["copy"])
    host.start("copy", snapshot="snap")
    assert host.sh("copy", "cat ~/file") == "third\n"
    assert (
        "NotFound" in host.tell("start", names=["late"], snapshot="snap")["errors"][0]
    )
    host.tell("destroy", names=["copy", "copy2", "late"])
    assert host.tell("state")["snapshots"] == []


def test_a_devbox_from_a_snapshot_may_have_a_larger_disk(host: Host) -> None:
    host.start("small", disk=128 * MIB)
    host.sh("small", "echo kept > ~/file")
    host.tell("stop", names=["small"])
    host.tell("snapshot", name="small", snapshot="small-1")
    host.start("large", snapshot="small-1", disk=512 * MIB)
    size = int(host.sh("large", "df -B1 --output=size / | tail -1"))
    assert 460 * MIB < size <= 512 * MIB
    host.sh("large", "head -c 300M /dev/zero > ~/big && test $(cat ~/file) = kept")
    host.start("less", snapshot="small-1", disk=64 * MIB)
    assert int(host.sh("less", "df -B1 --output=size / | tail -1")) > 100 * MIB
    host.tell("destroy", names=["small", "large", "less"])
    host.tell("delete_snapshot", snapshot="small-1")


def test_what_is_on_a_disk_stays_inside(host: Host) -> None:
    host.start("tricks")
    host.sh("tricks", TRICKS, user=ROOT)
    said = host.sh("tricks", LISTED)
    host.tell("snapshot", name="tricks", snapshot="tricks-1")
    host.start("again", snapshot="tricks-1")
    assert host.sh("again", LISTED) == said
    # Set-user-id is root of the devbox, who is nobody outside.
    upper = Path(f"/proc/{host_pid(host)}/root{host.place('again')}/disk/upper")
    found = (upper / "home/user/root-id").lstat()
    assert found.st_mode & stat.S_ISUID
    mine = [line for line in host.mounts() if "/again/disk " in line and "ext4" in line]
    assert mine
    assert all("nosuid,nodev" in line for line in mine)
    before = Path("/etc/passwd").stat()
    host.tell("destroy", names=["tricks", "again"])
    host.tell("delete_snapshot", snapshot="tricks-1")
    assert Path("/etc/passwd").stat() == before
    assert list((host.directory / "data/devboxes").iterdir()) == []
    assert list((host.directory / "data/snapshots").iterdir()) == []


def host_pid(host: Host) -> int:
    assert host.process is not None
    return host.process.pid


def test_a_devbox_in_which_no_user_can_be_made_does_not_start(host: Host) -> None:
    host.start("origin")
    script = "printf '#!/bin/bash\nexit 3\n' > /sh; chmod +x /sh; mv /sh /usr/bin/sh"
    host.sh("origin", script, user=ROOT)
    host.tell("snapshot", name="origin", snapshot="no-shell")
    said = host.tell(
        "start", names=["copy"], snapshot="no-shell", user=["deploy", 1234]
    )
    assert "no user deploy" in said["errors"][0]
    assert host.tell("state")["running"] == ["origin"]
    assert processes_of("copy") == []
    assert not [line for line in host.mounts() if "copy" in line]
    # It is its disk that is the reason, and not its having been tried.
    host.start("copy", snapshot="no-shell")
    host.tell("destroy", names=["origin", "copy"])
    host.tell("delete_snapshot", snapshot="no-shell")


def test_a_snapshot_that_fails_leaves_nothing(host: Host) -> None:
    with pytest.raises(HostFailed, match="NotFound"):
        host.tell("snapshot", name="nobody", snapshot="none")
    assert host.tell("state")["snapshots"] == []
    assert list((host.directory / "data/snapshots").iterdir()) == []


def names_of_ahead(host: Host) -> list[str]:
    return [path.name for path in (host.directory / "data/devboxes").glob("ahead-*")]


def test_one_made_ahead_is_like_any_other(warm: Host) -> None:
    env = {"COLOUR": "red"}
    warm.start("cold", env=env)  # Of a kind that nobody wanted before.
    eventually(lambda: rested(warm) and len(names_of_ahead(warm)) == 4)
    ahead = set(names_of_ahead(warm))
    warm.start("claimed", env=env)
    assert len(ahead - set(names_of_ahead(warm))) == 1
    cold, claimed = warm.sh("cold", FACTS), warm.sh("claimed", FACTS)
    assert claimed == cold
    assert "COLOUR=red" in cold
    # Stopped, it has a disk of its own, and nothing of how it began.
    warm.sh("claimed", "echo kept > ~/file")
    warm.tell("stop", names=["claimed"])
    warm.start("claimed", env=env)
    assert warm.sh("claimed", "cat ~/file") == "kept\n"
    warm.tell("destroy", names=["cold", "claimed"])
    assert warm.tell("state")["disks"] == []


def rested(host: Host) -> bool:
    host.tell("rest", seconds=0.2)
    return True


def test_some_of_each_kind_are_kept(warm: Host) -> None:
    """Two kinds in turn: what is kept for one is not taken away for the other."""
    warm.start("a1", disk=128 * MIB)
    warm.start("b1", disk=192 * MIB)
    eventually(lambda: rested(warm) and len(names_of_ahead(warm)) == 6)
    for name, disk in (("a2", 128), ("b2", 192), ("a3", 128), ("b3", 192)):
        before = set(names_of_ahead(warm))
        warm.start(name, disk=disk * MIB)
        assert len(before - set(names_of_ahead(warm))) == 1
        size = int(warm.sh(name, "df -B1 --output=size / | tail -1"))
        assert disk * MIB * 3 // 4 < size < disk * MIB
    # More kinds than are kept: the others go.
    for number in range(6):
        warm.start(f"c{number}", disk=(64 + 16 * number) * MIB)
    eventually(lambda: rested(warm) and len(names_of_ahead(warm)) == 8)


def test_nothing_of_an_image_runs_ahead(warm: Host) -> None:
    ahead: list[str] = []

    def are_made() -> bool:
        ahead[:] = names_of_ahead(warm)
        return len(ahead) == 2 and all(map(processes_of, ahead))

    eventually(lambda: rested(warm) and are_made())
    for name in ahead:
        (pid,) = processes_of(name)
        # Not even the init runs, and there is no interface but `lo`.
        assert not runs_init(pid)
        devices = Path(f"/proc/{pid}/net/dev").read_text().splitlines()[2:]
        assert [line.split(":")[0].strip() for line in devices] == ["lo"]
    # It takes the kernel a moment to run it.
    warm.start("claimed", disk=4096 * MIB, memory=2048 * MIB)
    warm.sh("claimed", "true")
    inits = [pid for name in ahead for pid in processes_of(name) if runs_init(pid)]
    assert len(inits) == 1


def runs_init(pid: int) -> bool:
    return Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"/.stockade/init\0")
