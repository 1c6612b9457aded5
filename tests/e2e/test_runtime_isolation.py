"""What root of a devbox may and may not do: privileges, mounts, devices, descriptors."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from stockade.runtime.driver import Stdio
from stockade.runtime.idrange import FIRST_ID
from tests.e2e.runtime_boxes import Boxes, Running

pytestmark = pytest.mark.root


@pytest.fixture(scope="module", params=["crun", "runc"])
def boxes(request: pytest.FixtureRequest) -> Iterator[Boxes]:
    with Boxes(request.param) as made:
        yield made


@pytest.mark.parametrize(
    "command",
    [
        "mount -t tmpfs none /mnt",
        "mount --bind /etc /mnt",
        "umount /proc",
        "unshare -U true",
        "unshare -n true",
        "nsenter -t 1 -n true",
        "ip link add dummy0 type dummy",
        "ip link set lo down",
        "ip addr add 192.0.2.9/24 dev lo",
        "ip route add default dev lo",
        "mknod /tmp/disk b 254 0",
        "echo 1 > /proc/sys/kernel/sysrq",
        "echo 1 > /proc/sys/net/ipv4/ip_forward",
        "echo b > /proc/sysrq-trigger",
        "echo x > /sys/kernel/uevent_seqnum",
        "chown 70000 /tmp",
        "hostname other",
        "dmesg",
    ],
)
@pytest.mark.parametrize("allow_sudo", [False, True])
def test_root_inside_may_not(boxes: Boxes, command: str, allow_sudo: bool) -> None:
    done = boxes.sh(command, allow_sudo=allow_sudo)
    assert done.status != 0, done


@pytest.mark.parametrize(
    "command",
    [
        "chown 1000:1000 /etc/hosts && chmod 4755 /etc/hosts",
        "useradd -m other && su other -c id",
        "chroot / true",
        "ip addr && ss -tlnp",
        "mkdir -p /opt/x && mv /usr/share/doc /opt/x/ && rm -r /opt/x",
        "rm -rf /usr/share/man && mkdir /usr/share/man",
        "ulimit -n 1024",
        "echo 500 > /proc/self/oom_score_adj",
        "setpriv --reuid 1000 --regid 1000 --clear-groups true",
        "cd $(mktemp -d); git init -q; git status",
        "apt-get --version && dpkg --audit",
        "python3 -m venv --without-pip /tmp/v && /tmp/v/bin/python -c 'import ssl'",
    ],
)
def test_root_inside_may(boxes: Boxes, command: str) -> None:
    done = boxes.sh(f"set -e; {command}")
    assert done.status == 0, done


def test_capabilities_are_few(boxes: Boxes) -> None:
    script = "grep ^Cap /proc/self/status | cut -f 2"
    # CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP NET_BIND_SERVICE
    # SYS_CHROOT SETFCAP
    few, none = f"{0x8004_05FB:016x}", "0" * 16
    assert boxes.sh(script).stdout.split() == [none, few, few, few, none]
    unprivileged = boxes.sh(script, user="user").stdout.split()
    assert unprivileged == [none, none, none, few, none]


def test_privileges_and_filter_are_as_promised(boxes: Boxes) -> None:
    script = "grep -E '^(NoNewPrivs|Seccomp):' /proc/self/status | cut -f 2"
    assert boxes.sh(script).stdout.split() == ["1", "2"]
    assert boxes.sh(script, allow_sudo=True).stdout.split() == ["0", "2"]


def test_root_inside_is_nobody_outside(boxes: Boxes) -> None:
    running = boxes.start("sh", "-c", "read line")
    status = Path(f"/proc/{running.pid}/status").read_text()
    uids = next(line for line in status.splitlines() if line.startswith("Uid:"))
    assert all(int(uid) >= FIRST_ID for uid in uids.split()[1:])
    assert running.finish().status == 1


def test_there_is_no_interface_but_lo(boxes: Boxes) -> None:
    script = "import socket; print([name for _, name in socket.if_nameindex()])"
    assert boxes.python(script).stdout == "['lo']\n"
    refused = boxes.python(
        "import socket; socket.create_connection(('192.0.2.1', 80), 5)"
    )
    assert "Network is unreachable" in refused.stderr


def test_no_descriptor_of_ours_is_inside(boxes: Boxes) -> None:
    # 3 is the directory that is being listed.
    assert boxes.run("ls", "/proc/self/fd").stdout.split() == ["0", "1", "2", "3"]
    inits = boxes.sh("ls /proc/1/fd").stdout.split()
    links = boxes.sh("readlink /proc/1/fd/*").stdout
    assert len(inits) <= 5
    assert "/run" not in links


def test_the_image_carries_no_devices_in(boxes: Boxes) -> None:
    options = boxes.sh("grep ' / ' /proc/self/mounts").stdout.split()[3]
    assert "nodev" in options.split(",")


def test_secrets_of_the_machine_are_masked(boxes: Boxes) -> None:
    reads = boxes.sh("cat /proc/kcore /proc/keys /proc/timer_list 2>/dev/null | wc -c")
    assert reads.stdout == "0\n"
    lists = boxes.sh(
        "ls -A /sys/firmware /proc/acpi /proc/scsi 2>/dev/null | grep -v :"
    )
    assert lists.stdout.strip() == ""
    assert Path("/proc/timer_list").stat().st_mode & 0o400


def test_the_machines_processes_are_out_of_sight(boxes: Boxes) -> None:
    assert boxes.sh("ls -d /proc/[0-9]* | wc -l").stdout.strip() in ("3", "4", "5")


def test_files_of_the_machine_keep_their_owner(boxes: Boxes, tmp_path: Path) -> None:
    """Descriptors that are handed in may be shared by the whole machine."""
    log = tmp_path / "log"
    log.touch()
    running = Running(
        boxes, boxes.request("sh", "-c", "chmod 666 /dev/null; echo done")
    )
    boxes.do(running.box.prepare)
    with open(os.devnull, "r+b") as null, log.open("wb") as output:
        owners = [os.fstat(file.fileno()) for file in (null, output)]
        stdio = Stdio(null.fileno(), output.fileno(), null.fileno())
        boxes.do(lambda: running.box.create(stdio))
        boxes.do(running.box.start)
        boxes.do(running.box.wait)
        after = [os.fstat(file.fileno()) for file in (null, output)]
    boxes.do(running.box.remove)
    assert log.read_text() == "done\n"
    for old, new in zip(owners, after, strict=True):
        assert (old.st_uid, old.st_gid, old.st_mode) == (
            new.st_uid,
            new.st_gid,
            new.st_mode,
        )
