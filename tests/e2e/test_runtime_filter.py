"""The system calls and socket families of a devbox, as they are from inside.

Each refusal has its control: the same call passes outside, or a harmless sibling inside.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
from collections.abc import Iterator

import pytest

from tests.e2e.runtime_boxes import Boxes

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
