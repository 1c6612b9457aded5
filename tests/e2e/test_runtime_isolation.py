"""What a devbox cannot do: the facts of capabilities, filters and namespaces, from inside.

Each refusal has its control: the same call passes outside a devbox, or a harmless sibling
passes inside.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from stockade.runtime.driver import Stdio
from stockade.runtime.idrange import FIRST_ID
from tests.e2e.runtime_boxes import Boxes, Running

pytestmark = pytest.mark.root

SYSCALL = """
import ctypes, errno, os, platform, sys
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    ctypes.set_errno(0)
    result = libc.syscall(ctypes.c_long(number), *map(ctypes.c_long, arguments))
    return errno.errorcode.get(ctypes.get_errno(), '?') if result < 0 else 'ok'
"""


@pytest.fixture(scope="module", params=["crun", "runc"])
def boxes(request: pytest.FixtureRequest) -> Iterator[Boxes]:
    with Boxes(request.param) as made:
        yield made


def calls(boxes: Boxes, script: str, **fields: object) -> list[str]:
    done = boxes.python(SYSCALL + script, **fields)
    assert done.stderr == ""
    return done.stdout.split()


# Numbers of the unified table, the same on all architectures.
@pytest.mark.parametrize(
    ("name", "number", "arguments"),
    [
        ("io_uring_setup", 425, "1, 0"),
        ("io_uring_enter", 426, "0, 0, 0, 0, 0, 0"),
        ("io_uring_register", 427, "0, 0, 0, 0"),
        ("open_tree", 428, "-100, 0, 1"),
        ("move_mount", 429, "0, 0, 0, 0, 0"),
        ("fsopen", 430, "0, 0"),
        ("fsmount", 432, "0, 0, 0"),
        ("mount_setattr", 442, "0, 0, 0, 0, 0"),
    ],
)
def test_dangerous_new_calls_are_refused(
    boxes: Boxes, name: str, number: int, arguments: str
) -> None:
    assert calls(boxes, f"print(call({number}, {arguments}))") == ["EPERM"], name


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="numbers of x86_64")
@pytest.mark.parametrize(
    ("name", "number", "arguments"),
    [
        ("unshare", 272, "0x10000000"),
        ("setns", 308, "0, 0"),
        ("mount", 165, "0, 0, 0, 0, 0"),
        ("umount2", 166, "0, 0"),
        ("pivot_root", 155, "0, 0"),
        ("bpf", 321, "0, 0, 0"),
        ("perf_event_open", 298, "0, 0, 0, 0, 0"),
        ("userfaultfd", 323, "0"),
        ("keyctl", 250, "0, 0, 0, 0, 0"),
        ("add_key", 248, "0, 0, 0, 0, 0"),
        ("request_key", 249, "0, 0, 0, 0"),
        ("kexec_load", 246, "0, 0, 0, 0"),
        ("init_module", 175, "0, 0, 0"),
        ("finit_module", 313, "0, 0, 0"),
        ("delete_module", 176, "0, 0"),
        ("open_by_handle_at", 304, "0, 0, 0"),
        ("swapon", 167, "0, 0"),
        ("reboot", 169, "0, 0, 0, 0"),
        ("syslog", 103, "3, 0, 0"),
        ("iopl", 172, "3"),
        ("quotactl", 179, "0, 0, 0, 0"),
    ],
)
def test_dangerous_calls_are_refused(
    boxes: Boxes, name: str, number: int, arguments: str
) -> None:
    assert calls(boxes, f"print(call({number}, {arguments}))") == ["EPERM"], name


def test_unknown_calls_and_clone3_do_not_exist(boxes: Boxes) -> None:
    # 600 is a number no kernel has; 435 is clone3, whose flags a filter cannot see.
    assert calls(boxes, "print(call(600), call(435, 0, 0))") == ["ENOSYS", "ENOSYS"]


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="numbers of x86_64")
def test_clone_makes_processes_and_no_namespaces(boxes: Boxes) -> None:
    script = """
flags = [1 << 17] + [1 << bit for bit in range(25, 31)]
print(*(call(56, flag | 17, 0, 0, 0, 0) for flag in flags))
sys.stdout.flush()
pid = libc.syscall(ctypes.c_long(56), ctypes.c_long(17), 0, 0, 0, 0)
if pid == 0: os._exit(5)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    assert calls(boxes, script) == [*["EPERM"] * 7, "5"]


def test_personality_cannot_switch_protections_off(boxes: Boxes) -> None:
    if os.uname().machine != "x86_64":
        pytest.skip("numbers of x86_64")
    # ADDR_NO_RANDOMIZE, READ_IMPLIES_EXEC; then the plain one
    script = "print(call(135, 0x40000), call(135, 0x400000), call(135, 0))"
    assert calls(boxes, script) == ["ENOSYS", "ENOSYS", "ok"]


FAMILIES = {
    "unix": (1, 1, 0, "ok"),
    "inet": (2, 1, 0, "ok"),
    "inet6": (10, 2, 0, "ok"),
    "netlink route": (16, 3, 0, "ok"),
    "netlink audit": (16, 3, 9, "EPROTONOSUPPORT"),
    "raw": (2, 3, 1, "EPERM"),
    "raw6": (10, 3, 58, "EPERM"),
    "packet": (17, 3, 0, "EAFNOSUPPORT"),
    "vsock": (40, 1, 0, "EAFNOSUPPORT"),
    "crypto": (38, 5, 0, "EAFNOSUPPORT"),
    "bluetooth": (31, 3, 0, "EAFNOSUPPORT"),
    "xdp": (44, 3, 0, "EAFNOSUPPORT"),
    "key": (15, 3, 2, "EAFNOSUPPORT"),
    "ax25": (3, 2, 0, "EAFNOSUPPORT"),
    "vsock with high bits": ((1 << 32) + 40, 1, 0, "EAFNOSUPPORT"),
    "vsock with the highest bit": ((1 << 63) - (1 << 64) + 40, 1, 0, "EAFNOSUPPORT"),
    "unspecified": (0, 1, 0, "EAFNOSUPPORT"),
}


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="numbers of x86_64")
@pytest.mark.parametrize("family", FAMILIES)
def test_sockets_of_four_families_only(boxes: Boxes, family: str) -> None:
    number, kind, protocol, outcome = FAMILIES[family]
    script = f"print(call(41, {number}, {kind}, {protocol}))"
    assert calls(boxes, script) == [outcome]


def test_the_control_vsock_exists_outside() -> None:
    try:
        socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM).close()
    except OSError as error:
        if error.errno == errno.EAFNOSUPPORT:
            pytest.skip("this kernel has no vsock")
        raise


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="numbers of x86_64")
def test_the_control_io_uring_exists_outside() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.syscall(425, 0, None) == -1
    assert ctypes.get_errno() != errno.EPERM


def test_calls_of_another_convention_end_the_process(boxes: Boxes) -> None:
    if os.uname().machine != "x86_64":
        pytest.skip("x32 is of x86_64")
    # getpid(2) by its x32 number
    script = SYSCALL + "print(call(0x40000000 + 39)); print('alive')"
    done = boxes.python(script)
    assert done.stdout in ("", "ENOSYS\nalive\n")


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
