"""The system call filter, by a small model of how the kernel will apply it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stockade.errors import Unavailable
from stockade.runtime import seccomp

GOLDEN = Path(__file__).resolve().parents[2] / "golden"
MACHINES = ("x86_64", "aarch64")
MASK64 = (1 << 64) - 1

OPERATORS = {
    "SCMP_CMP_EQ": lambda given, rule: given == rule["value"],
    "SCMP_CMP_NE": lambda given, rule: given != rule["value"],
    "SCMP_CMP_GT": lambda given, rule: given > rule["value"],
    "SCMP_CMP_MASKED_EQ": lambda given, rule: given & rule["value"] == rule["valueTwo"],
}


def decide(machine: str, name: str, *arguments: int) -> str | int:
    """What the filter does: "allow", or the number of an error."""
    profile = seccomp.profile(machine)
    outcomes = {
        outcome(rule)
        for rule in profile["syscalls"]
        if name in rule["names"] and matches(rule, arguments)
    }
    # Rules that overlap would be resolved by the library, in a way of its own.
    assert len(outcomes) <= 1, (name, arguments, outcomes)
    return outcomes.pop() if outcomes else int(profile["defaultErrnoRet"])


def matches(rule: dict[str, Any], arguments: tuple[int, ...]) -> bool:
    padded = [argument & MASK64 for argument in (*arguments, *[0] * 6)]
    return all(
        OPERATORS[one["op"]](padded[one["index"]], one) for one in rule.get("args", ())
    )


def outcome(rule: dict[str, Any]) -> str | int:
    return "allow" if rule["action"] == "SCMP_ACT_ALLOW" else int(rule["errnoRet"])


@pytest.mark.parametrize("machine", MACHINES)
def test_the_filter_is_the_reviewed_one(machine: str) -> None:
    text = json.dumps(seccomp.profile(machine), indent=1) + "\n"
    assert text == (GOLDEN / f"seccomp_{machine}.json").read_text()


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(
    "name",
    "acct add_key bpf delete_module finit_module fsopen fsmount init_module"
    " io_uring_enter io_uring_register io_uring_setup kexec_file_load kexec_load keyctl"
    " mount mount_setattr move_mount open_by_handle_at open_tree perf_event_open"
    " pivot_root reboot request_key setns settimeofday swapon umount2 unshare"
    " userfaultfd".split(),
)
def test_dangerous_calls_are_refused(machine: str, name: str) -> None:
    assert decide(machine, name) == 1


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("name", ["clone3", "no_such_call", "iopl_of_tomorrow"])
def test_unknown_calls_do_not_exist(machine: str, name: str) -> None:
    assert decide(machine, name) == 38


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(
    "name", "read write openat execve ptrace futex chroot seccomp setresuid".split()
)
def test_ordinary_calls_are_allowed(machine: str, name: str) -> None:
    assert decide(machine, name) == "allow"


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (17, "allow"),  # fork
        (0x3D0F00, "allow"),  # a thread
        (0x4111, "allow"),  # vfork
        *((17 | 1 << bit, 1) for bit in (17, *range(25, 31))),
        ((1 << 32) | 0x1000_0011, 1),  # high bits hide nothing
    ],
)
def test_clone_makes_no_namespace(machine: str, flags: int, expected: object) -> None:
    assert decide(machine, "clone", flags) == expected


def test_several_namespaces_at_once_are_refused_too() -> None:
    # More than one rule matches, all with the same outcome.
    assert decide("x86_64", "clone", 0x7E02_0011) == 1


@pytest.mark.parametrize("call", ["socket", "socketpair"])
@pytest.mark.parametrize(
    "family", [*range(50), 255, 1 << 31, 1 << 32, (1 << 32) | 40, -1]
)
def test_four_families_of_sockets(call: str, family: int) -> None:
    expected = "allow" if family in (1, 2, 10, 16) else 97
    assert decide("x86_64", call, family, 1, 0) == expected


def test_the_audit_daemon_cannot_be_told() -> None:
    assert decide("x86_64", "socket", 16, 3, 9) == 93
    assert decide("x86_64", "socket", 16, 3, 0) == "allow"


@pytest.mark.parametrize(
    ("persona", "expected"), [(0, "allow"), (0xFFFF_FFFF, "allow"), (0x40_0000, 38)]
)
def test_personality(persona: int, expected: object) -> None:
    assert decide("x86_64", "personality", persona) == expected


@pytest.mark.parametrize("machine", MACHINES)
def test_one_architecture_and_no_call_listed_twice(machine: str) -> None:
    profile = seccomp.profile(machine)
    assert len(profile["architectures"]) == 1
    allowed, refused = profile["syscalls"][:2]
    assert not set(allowed["names"]) & set(refused["names"])
    for rule in (allowed, refused):
        assert rule["names"] == sorted(set(rule["names"]))
    conditional = {name for rule in profile["syscalls"][2:] for name in rule["names"]}
    assert not conditional & {*allowed["names"], *refused["names"]}


def test_another_machine_is_named() -> None:
    with pytest.raises(Unavailable, match="no system call filter for riscv64"):
        seccomp.profile("riscv64")


def test_a_builder_makes_mounts_and_no_user_namespaces() -> None:
    new_user = 1 << 28
    plain, nesting = (
        seccomp.profile("x86_64", nesting=value) for value in (False, True)
    )

    def rules(profile: dict[str, Any], call: str) -> list[tuple[str, object]]:
        return [
            (rule["action"], rule.get("args"))
            for rule in profile["syscalls"]
            if call in rule["names"]
        ]

    for call in ("mount", "umount2", "pivot_root", "sethostname"):
        assert rules(nesting, call) == [("SCMP_ACT_ALLOW", None)]
        assert ("SCMP_ACT_ALLOW", None) not in rules(plain, call)
    for call in ("clone", "unshare"):
        given = {"index": 0, "value": new_user, "op": "SCMP_CMP_MASKED_EQ"}
        assert rules(nesting, call) == [
            ("SCMP_ACT_ALLOW", [{**given, "valueTwo": 0}]),
            ("SCMP_ACT_ERRNO", [{**given, "valueTwo": new_user}]),
        ]
    for call in ("setns", "keyctl", "bpf", "io_uring_setup", "fsopen", "move_mount"):
        assert rules(nesting, call) == rules(plain, call)
