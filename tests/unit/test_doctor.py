"""`stockade doctor`: what each check makes of the facts it is given."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from stockade.cli.doctor import doctor, line
from stockade.config import Settings
from stockade.doctor import diagnosis, kernel
from stockade.doctor.check import Check, Machine, install_command
from stockade.doctor.gateway import check_gateway

DEBIAN = {"ID": "debian"}
UBUNTU = {"ID": "pop", "ID_LIKE": "ubuntu debian"}
FEDORA = {"ID": "fedora"}
ALPINE = {"ID": "alpine"}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine whose facts are files of the test's own."""
    (tmp_path / "proc/sys/user").mkdir(parents=True)
    (tmp_path / "proc/sys/kernel/seccomp").mkdir(parents=True)
    (tmp_path / "proc/self").mkdir()
    (tmp_path / "cgroup").mkdir()
    return Machine(
        data_dir=tmp_path / "data",
        os_release=DEBIAN,
        proc=tmp_path / "proc",
        dev=tmp_path / "dev",
        cgroup=tmp_path / "cgroup",
        resolv_conf=tmp_path / "resolv.conf",
    )


def write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    ("need", "os_release", "command"),
    [
        ("libnftables", DEBIAN, "apt-get install libnftables1"),
        ("libnftables", UBUNTU, "apt-get install libnftables1"),
        ("libnftables", FEDORA, "dnf install nftables"),
        ("crun", {"ID": "rocky", "ID_LIKE": "rhel fedora"}, "dnf install crun"),
        ("youki", DEBIAN, "apt-get install youki"),
    ],
)
def test_the_remedy_is_that_of_the_distribution(
    need: str, os_release: dict[str, str], command: str
) -> None:
    assert install_command(need, os_release) == command


def test_an_unknown_distribution_gets_both_names() -> None:
    command = install_command("libnftables", ALPINE)
    assert "libnftables1" in command
    assert "nftables" in command


@pytest.mark.parametrize(
    ("release", "ok"),
    [
        ("6.1.0-18-amd64", True),
        ("5.19.0", True),
        ("5.18.19-custom", False),
        ("4.19.0-26-cloud-amd64", False),
        ("10.0", True),
        ("6.18.44-fc-v657", True),
        ("strange", False),
    ],
)
def test_kernel_version(release: str, ok: bool) -> None:
    check = kernel.check_kernel(release)
    assert check.ok is ok
    assert bool(check.remedy) is not ok


def test_root_without_capabilities_is_not_enough(machine: Machine) -> None:
    write(machine.proc / "self/status", "Name:\tx\nCapEff:\t00000000a80425fb\n")
    check = kernel.check_root(machine)
    assert not check.ok
    assert check.remedy


@pytest.mark.skipif(os.geteuid() != 0, reason="root only")
def test_root_with_capabilities(machine: Machine) -> None:
    write(machine.proc / "self/status", "CapEff:\t000001ffffffffff\n")
    assert kernel.check_root(machine).ok


@pytest.mark.parametrize(
    ("limit", "ok", "remedy"),
    [("15000", True, ""), ("0", False, "sysctl"), (None, False, "CONFIG_USER_NS")],
)
def test_user_namespaces(
    machine: Machine, limit: str | None, ok: bool, remedy: str
) -> None:
    if limit is not None:
        write(machine.proc / "sys/user/max_user_namespaces", limit + "\n")
    check = kernel.check_user_namespaces(machine)
    assert check.ok is ok
    assert remedy in check.remedy


def test_overlay(machine: Machine) -> None:
    assert not kernel.check_overlay(machine, "no-such-release").ok
    write(machine.proc / "filesystems", "nodev\tproc\nnodev\toverlay\n")
    assert kernel.check_overlay(machine, "no-such-release").ok


def test_loop_devices(machine: Machine) -> None:
    assert not kernel.check_loop_devices(machine).ok
    assert "modprobe" in kernel.check_loop_devices(machine).remedy
    machine.dev.mkdir()
    (machine.dev / "loop-control").touch()
    assert kernel.check_loop_devices(machine).ok


def test_seccomp(machine: Machine) -> None:
    assert not kernel.check_seccomp(machine).ok
    actions = "kill_process kill_thread trap errno trace log allow\n"
    write(machine.proc / "sys/kernel/seccomp/actions_avail", actions)
    assert kernel.check_seccomp(machine).ok


def test_cgroups_v2(machine: Machine) -> None:
    write(machine.cgroup / "cgroup.controllers", "cpuset cpu io memory pids\n")
    assert kernel.check_cgroups(machine).detail == "v2: memory, pids, cpu"


def test_cgroups_v1(machine: Machine) -> None:
    for name in ("memory", "pids", "cpu"):
        (machine.cgroup / name).mkdir()
    assert kernel.check_cgroups(machine).detail == "v1: memory, pids, cpu"


def test_missing_controllers_are_a_warning(machine: Machine) -> None:
    (machine.cgroup / "memory").mkdir()
    check = kernel.check_cgroups(machine)
    assert (check.ok, check.required) == (False, False)
    assert "cpu, pids" in check.detail


def test_a_program_or_its_alternative(machine: Machine) -> None:
    assert diagnosis.check_program(machine, "no-such-program", "sh").ok
    check = diagnosis.check_program(machine, "no-such-program")
    assert check.remedy == "apt-get install no-such-program"
    assert check.required


def test_the_data_directory_is_judged_where_it_will_be(machine: Machine) -> None:
    mounts = f"1 0 8:1 / / rw - ext4 /dev/a rw\n2 1 0:9 / {machine.data_dir.parent} rw"
    write(machine.proc / "self/mountinfo", f"{mounts} - overlay overlay rw\n")
    check = diagnosis.check_data_directory(machine)
    assert not check.ok
    assert "overlay" in check.detail
    assert "data_dir" in check.remedy
    write(machine.proc / "self/mountinfo", f"{mounts} - xfs /dev/b rw\n")
    assert "on xfs" in diagnosis.check_data_directory(machine).detail


def test_resolvers(machine: Machine) -> None:
    write(machine.resolv_conf, "# nothing\nsearch example\n")
    assert not diagnosis.check_resolvers(machine).ok
    write(machine.resolv_conf, "nameserver 192.0.2.53\nnameserver 2001:db8::53\n")
    check = diagnosis.check_resolvers(machine)
    assert check.ok
    assert check.detail == "192.0.2.53, 2001:db8::53"


def test_open_files() -> None:
    assert "at most" in diagnosis.check_open_files().detail or (
        diagnosis.check_open_files().detail == "no limit"
    )


def test_lines_say_what_to_do() -> None:
    good = Check("crun", ok=True, detail="/usr/bin/crun")
    bad = Check("crun", ok=False, detail="not installed", remedy="dnf install crun")
    soft = Check("cgroups", ok=False, detail="none", remedy="mount", required=False)
    assert line(good) == "ok       crun: /usr/bin/crun"
    assert line(bad) == "MISSING  crun: not installed; mend it with: dnf install crun"
    assert line(soft).startswith("warning  cgroups: ")


def test_every_failing_check_says_what_to_do(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, runtime="no-such-runtime")
    checks = list(diagnosis.diagnose(settings))
    names = [check.name for check in checks]
    assert len(names) == len(set(names))
    assert {"root", "kernel", "no-such-runtime", "data directory"} <= set(names)
    assert all(check.ok or check.remedy for check in checks)


def test_exit_status_and_json(tmp_path: Path) -> None:
    environ = {
        "STOCKADE_RUNTIME": "no-such-runtime",
        "STOCKADE_DATA_DIR": str(tmp_path),
    }
    result = CliRunner().invoke(doctor, ["--json"], env=environ)
    assert result.exit_code == 1
    checks = [json.loads(text) for text in result.output.splitlines()]
    found = {check["name"]: check for check in checks}
    assert found["no-such-runtime"]["ok"] is False
    result = CliRunner().invoke(doctor, [], env=environ)
    assert "MISSING  no-such-runtime: not installed; mend it with: " in result.output


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces")
def test_the_gateway_is_tried_for_real(machine: Machine) -> None:
    checks = list(check_gateway(machine))
    assert [check.name for check in checks] == [
        "nft library",
        "transparent redirect",
        "policy routing",
        "veth pairs",
        "transparent sockets",
    ]
    assert all(check.ok for check in checks), checks
