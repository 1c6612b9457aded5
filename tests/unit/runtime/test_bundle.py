"""The OCI configuration of a devbox, as a reviewer reads it in tests/golden."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stockade.runtime import bundle
from stockade.runtime.bundle import BindMount, BoxCommand, BoxPlan, BoxUser
from stockade.spec import DevboxId, DevboxSpec

GOLDEN = Path(__file__).resolve().parents[2] / "golden"

ROOT = BoxUser("root", 0, 0, (), "/root")
USER = BoxUser("user", 1000, 1000, (27, 100), "/home/user")
PLAIN = DevboxSpec(DevboxId("dbx_plain"), ("bash", "-c", "echo hello"))
PLAN = BoxPlan(
    user=ROOT,
    workdir="/root",
    rootfs="/run/stockade/dbx_plain/rootfs",
    id_base=0x2001_0000,
    id_count=0x1_0000,
    init="/usr/bin/catatonit",
    # Reviewed by itself, in its own file.
    seccomp={"defaultAction": "SCMP_ACT_ERRNO"},
)
EVERYTHING = DevboxSpec(
    DevboxId("dbx_everything"),
    ("make", "test"),
    env={"PATH": "/opt/bin:/bin", "TOKEN": "secret"},
    user="user",
    memory=512 << 20,
    cpus=1.5,
    pids=100,
    terminal=True,
    hostname="builder",
    allow_sudo=True,
)
FULL_PLAN = replace(
    PLAN,
    user=USER,
    workdir="/src",
    cgroup="/stockade-dbx_everything",
    limits=frozenset({"cpu", "memory", "pids", "swap"}),
    cgroup_mount=True,
    rlimits={"RLIMIT_NOFILE": (20000, 20000), "RLIMIT_CORE": (0, 0)},
    env={"SSL_CERT_FILE": "/etc/ssl/certs/ca-certificates.crt"},
    mounts=(
        BindMount("/run/stockade/dbx_everything/mounts/0", "/src", read_only=False),
        BindMount("/run/stockade/dbx_everything/mounts/1", "/etc/x", read_only=True),
    ),
    console_size=(120, 40),
)


def render(spec: DevboxSpec, plan: BoxPlan) -> dict[str, Any]:
    return bundle.render(spec, plan)


@pytest.mark.parametrize(
    ("name", "spec", "plan"),
    [
        ("bundle_plain.json", PLAIN, PLAN),
        ("bundle_everything.json", EVERYTHING, FULL_PLAN),
    ],
)
def test_the_configuration_is_the_reviewed_one(
    name: str, spec: DevboxSpec, plan: BoxPlan
) -> None:
    text = json.dumps(render(spec, plan), indent=2) + "\n"
    assert text == (GOLDEN / name).read_text()


def test_every_namespace_is_new_and_the_networks_has_no_path() -> None:
    namespaces = render(PLAIN, PLAN)["linux"]["namespaces"]
    assert {one["type"] for one in namespaces} == {
        "pid",
        "ipc",
        "uts",
        "mount",
        "cgroup",
        "network",
        "user",
    }
    assert all(set(one) == {"type"} for one in namespaces)


@pytest.mark.parametrize("user", [ROOT, USER])
@pytest.mark.parametrize("allow_sudo", [False, True])
def test_no_capability_over_the_network_or_the_kernel(
    user: BoxUser, allow_sudo: bool
) -> None:
    spec = replace(PLAIN, allow_sudo=allow_sudo)
    granted = render(spec, replace(PLAN, user=user))["process"]["capabilities"]
    never = "NET_ADMIN NET_RAW SYS_ADMIN SYS_PTRACE SYS_MODULE MKNOD BPF AUDIT_WRITE"
    for kind, names in granted.items():
        assert not {f"CAP_{name}" for name in never.split()} & set(names), kind
    assert granted["inheritable"] == granted["ambient"] == []
    assert bool(granted["effective"]) == (user.uid == 0)


def test_privileges_are_gained_only_where_sudo_is_allowed() -> None:
    assert render(PLAIN, PLAN)["process"]["noNewPrivileges"] is True
    sudo = replace(PLAIN, allow_sudo=True)
    assert render(sudo, PLAN)["process"]["noNewPrivileges"] is False


def test_the_spec_has_the_last_word_on_the_environment() -> None:
    spec = replace(PLAIN, env={"HOME": "/elsewhere", "A": "spec"})
    plan = replace(PLAN, env={"A": "image", "LANG": "de"})
    assert bundle.environment(spec, plan) == {
        "PATH": bundle.DEFAULT_PATH,
        "HOME": "/elsewhere",
        "USER": "root",
        "LANG": "de",
        "A": "spec",
    }


def test_limits_are_written_only_where_the_machine_has_them() -> None:
    spec = replace(EVERYTHING, terminal=False)
    assert "resources" not in render(spec, PLAN)["linux"]
    some = replace(PLAN, cgroup="/x", limits=frozenset({"pids"}))
    assert render(spec, some)["linux"]["resources"] == {"pids": {"limit": 100}}


def test_a_tiny_share_of_a_core_is_what_the_kernel_takes() -> None:
    plan = replace(PLAN, cgroup="/x", limits=frozenset({"cpu"}))
    spec = replace(PLAIN, cpus=0.001)
    assert render(spec, plan)["linux"]["resources"]["cpu"]["quota"] == 1000


def test_bind_mounts_carry_no_privileges() -> None:
    binds = [m for m in render(EVERYTHING, FULL_PLAN)["mounts"] if m["type"] == "bind"]
    assert [m["destination"] for m in binds] == [bundle.INIT, "/src", "/etc/x"]
    for mount in binds:
        assert {"nosuid", "nodev"} <= set(mount["options"])
    assert [m["options"][-1] for m in binds] == ["ro", "rw", "ro"]


COMMAND = BoxCommand(("ls", "-l"), USER, "/srv", {"B": "command", "C": "command"})


@pytest.mark.parametrize("allow_sudo", [False, True])
@pytest.mark.parametrize("user", [ROOT, USER])
def test_a_further_command_is_confined_as_the_first(
    user: BoxUser, allow_sudo: bool
) -> None:
    spec = replace(PLAIN, allow_sudo=allow_sudo)
    plan = replace(FULL_PLAN, user=user, console_size=None)
    first = render(spec, plan)["process"]
    command = replace(COMMAND, user=user)
    further = bundle.render_command(spec, plan, command)
    own = {"args": ["ls", "-l"], "cwd": "/srv", "env": further["env"]}
    assert further == {**first, **own}


def test_a_further_command_may_what_its_own_user_may() -> None:
    further = bundle.render_command(PLAIN, replace(PLAN, user=ROOT), COMMAND)
    assert further["user"] == {"uid": 1000, "gid": 1000, "additionalGids": [27, 100]}
    assert further["capabilities"]["effective"] == []
    assert further["terminal"] is False


def test_the_environment_of_a_further_command() -> None:
    spec = replace(PLAIN, env={"A": "devbox", "B": "devbox"})
    plan = replace(PLAN, env={"A": "image", "D": "image"})

    def env(command: BoxCommand) -> set[str]:
        return set(bundle.render_command(spec, plan, command)["env"])

    default = {
        f"PATH={bundle.DEFAULT_PATH}",
        "HOME=/home/user",
        "USER=user",
        "LANG=C.UTF-8",
        "B=command",
        "C=command",
    }
    assert env(COMMAND) == default | {"A=devbox", "D=image"}
    assert env(replace(COMMAND, apart=True)) == default


def test_a_builder_has_one_capability_more() -> None:
    plain, nesting = (
        render(PLAIN, replace(PLAN, nesting=value))["process"]["capabilities"]
        for value in (False, True)
    )
    for kind in ("bounding", "effective", "permitted"):
        assert set(nesting[kind]) - set(plain[kind]) == {"CAP_SYS_ADMIN"}
    assert nesting["inheritable"] == nesting["ambient"] == []
