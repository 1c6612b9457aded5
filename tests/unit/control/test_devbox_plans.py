"""Requests for devboxes: what they come to, and which are refused."""

from __future__ import annotations

from typing import Any

import pytest

from stockade.control.devbox_plans import (
    DevboxRequest,
    Source,
    host_plan,
    launch_parameters,
    user_of,
)
from stockade.control.launch_parameters import complete, read_launch_parameters
from stockade.control.mounts import CodeMount, FileMount, ObjectMount
from stockade.errors import InvalidRequest, NotOffered
from stockade.hosting import GIB, BoxAccount

BOX = "dbx_" + "0" * 21


def launch(**fields: Any) -> dict[str, Any]:
    return complete(read_launch_parameters(fields), "x86_64")


def test_an_empty_request_has_the_defaults() -> None:
    request = DevboxRequest.from_body({})
    found = launch_parameters(request, Source(), "x86_64", None)
    assert found == {"resource_size_request": "SMALL", "keep_alive_time_seconds": 3600}
    plan = host_plan(BOX, "acc", Source(), found, {"A": "b"})
    assert (plan.cpus, plan.memory, plan.disk) == (1.0, 2 * GIB, 4 * GIB)
    assert (plan.image, plan.user, plan.env) == ("default", BoxAccount(), {"A": "b"})


def test_null_is_absent_and_unknown_keys_are_ignored() -> None:
    body = {
        "name": None,
        "metadata": None,
        "mounts": None,
        "entrypoint": None,
        "launch_parameters": {"after_idle": None, "novelty": 1},
        "tunnel": None,
        "novelty": {},
    }
    assert DevboxRequest.from_body(body) == DevboxRequest()


@pytest.mark.parametrize(
    ("fields", "cores", "memory", "disk"),
    [
        ({"resource_size_request": "X_SMALL"}, 0.5, 1, 4),
        ({"resource_size_request": "XX_LARGE"}, 8, 32, 16),
        (
            {
                "resource_size_request": "CUSTOM_SIZE",
                "custom_cpu_cores": 0.5,
                "custom_gb_memory": 1.0,
                "custom_disk_size": 64,
            },
            0.5,
            1,
            64,
        ),
    ],
)
def test_sizes(fields: dict[str, Any], cores: float, memory: int, disk: int) -> None:
    plan = host_plan(BOX, "acc", Source(), launch(**fields), {})
    assert (plan.cpus, plan.memory, plan.disk) == (cores, memory * GIB, disk * GIB)


CUSTOM = {"resource_size_request": "CUSTOM_SIZE"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"resource_size_request": "HUGE"}, "resource_size_request: one of"),
        (CUSTOM, "needs custom_cpu_cores"),
        ({**CUSTOM, "custom_cpu_cores": 3}, "custom_cpu_cores"),
        ({**CUSTOM, "custom_cpu_cores": 18}, "custom_cpu_cores"),
        ({**CUSTOM, "custom_cpu_cores": True}, "custom_cpu_cores"),
        ({**CUSTOM, "custom_cpu_cores": 2, "custom_gb_memory": 3}, "multiple of 2"),
        ({**CUSTOM, "custom_cpu_cores": 2, "custom_gb_memory": 66}, "from 1 to 64"),
        ({**CUSTOM, "custom_cpu_cores": 4, "custom_gb_memory": 4}, "2 to 8 GiB"),
        ({**CUSTOM, "custom_cpu_cores": 1, "custom_gb_memory": 10}, "2 to 8 GiB"),
        ({"custom_disk_size": 1}, "custom_disk_size"),
        ({"keep_alive_time_seconds": 0}, "keep_alive_time_seconds"),
        ({"keep_alive_time_seconds": 172_801}, "1 to 172800"),
        ({"keep_alive_time_seconds": "60"}, "whole number"),
        ({"architecture": "arm64"}, "this server runs x86_64"),
        ({"after_idle": {"idle_time_seconds": 5}}, "after_idle.on_idle"),
        ({"after_idle": {"idle_time_seconds": 0, "on_idle": "suspend"}}, "idle_time"),
        ({"launch_commands": "ls"}, "launch_commands: a list"),
        ({"launch_commands": ["ls", 3]}, r"launch_commands\[1\]: a text"),
        ({"launch_commands": ["l\0s"]}, "zero octet"),
        ({"network_policy_id": 7}, "network_policy_id: a text"),
        ({"user_parameters": {"username": "root", "uid": 1}}, "root"),
        ({"user_parameters": {"username": "ann", "uid": 0}}, "root"),
        ({"user_parameters": {"username": "a:b", "uid": 9}}, "user name"),
        ({"user_parameters": {"username": "ann", "uid": -1}}, "uid"),
        ({"required_services": ["redis"]}, "no service 'redis'"),
        ({"provisioning_tier": "best"}, "provisioning_tier"),
        (
            {"lifecycle": {"lifecycle_hooks": {"suspend_deadline_ms": 60_001}}},
            "suspend_deadline_ms",
        ),
        (
            {
                "after_idle": {"idle_time_seconds": 5, "on_idle": "suspend"},
                "lifecycle": {
                    "after_idle": {"idle_time_seconds": 6, "on_idle": "suspend"}
                },
            },
            "differ",
        ),
    ],
)
def test_launch_parameters_that_are_refused(
    fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidRequest, match=message):
        launch(**fields)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"launch_parameters": []}, "launch_parameters: an object"),
        ({"metadata": {"a": 1}}, "metadata"),
        ({"name": "n" * 256}, "name: 256"),
        ({"environment_variables": {"A B": "c"}}, "'A B' is not a variable"),
        ({"secrets": {"": "c"}}, "not a variable"),
        ({"blueprint_id": "b", "snapshot_id": "s"}, "one of them only"),
        ({"mounts": {}}, "mounts: a list"),
        ({"mounts": [{"type": "agent_mount"}]}, "'agent_mount' is not one of"),
        ({"mounts": [{"type": "file_mount", "target": "/a"}]}, "content: a text"),
        ({"file_mounts": {"/": "x"}}, "path of a file"),
        (
            {"code_mounts": [{"repo_owner": "a/..", "repo_name": "b"}]},
            "repo_owner: 'a/..'",
        ),
        (
            {"code_mounts": [{"repo_owner": "a", "repo_name": "b", "git_ref": "-f"}]},
            "git_ref",
        ),
    ],
)
def test_bodies_that_are_refused(body: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        DevboxRequest.from_body(body)


@pytest.mark.parametrize(
    "body",
    [
        {"tunnel": {"auth_mode": "open"}},
        {"gateways": {"A": {"gateway": "openai", "secret": "s"}}},
        {"mcp": {"A": {"mcp_config": "x", "secret": "s"}}},
        {"mounts": [{"type": "broker_mount", "axon_id": "a"}]},
    ],
)
def test_what_is_not_offered_is_not_left_out_silently(body: dict[str, Any]) -> None:
    with pytest.raises(NotOffered):
        DevboxRequest.from_body(body)


def test_mounts_in_all_their_fields() -> None:
    code = {"repo_owner": "octo", "repo_name": "cat", "token": "t0p"}
    request = DevboxRequest.from_body(
        {
            "file_mounts": {"/a": "x"},
            "code_mounts": [code],
            "mounts": [
                {"type": "file_mount", "target": "~/b", "content": ""},
                {"type": "object_mount", "object_id": "obj_1", "object_path": "/c"},
            ],
        }
    )
    assert request.mounts == (
        FileMount("/a", "x"),
        CodeMount("octo", "cat", token="t0p"),
        FileMount("~/b", ""),
        ObjectMount("obj_1", "/c"),
    )
    script = request.mounts[1].script()
    assert "https://github.com/octo/cat.git" in script
    assert "t0p" not in script
    assert "t0p" not in repr(request)


def test_the_request_goes_before_its_source() -> None:
    source = Source(
        launch={
            "network_policy_id": "npol_a",
            "resource_size_request": "LARGE",
            "lifecycle": {"after_idle": {"idle_time_seconds": 9, "on_idle": "suspend"}},
        }
    )
    plain = launch_parameters(DevboxRequest(), source, "x86_64", "npol_default")
    assert plain["network_policy_id"] == "npol_a"
    assert plain["resource_size_request"] == "LARGE"
    assert "keep_alive_time_seconds" not in plain
    own = {
        "network_policy_id": "npol_b",
        "user_parameters": {"username": "root", "uid": 0},
    }
    own["after_idle"] = {"idle_time_seconds": 5, "on_idle": "shutdown"}
    request = DevboxRequest.from_body({"launch_parameters": own})
    found = launch_parameters(request, source, "x86_64", "npol_default")
    assert found["network_policy_id"] == "npol_b"
    assert user_of(found) == BoxAccount("root", 0)
    nothing = launch_parameters(DevboxRequest(), Source(), "x86_64", "npol_default")
    assert nothing["network_policy_id"] == "npol_default"


def test_a_number_that_no_float_holds_is_refused() -> None:
    fields = {"custom_cpu_cores": 10**400}
    with pytest.raises(InvalidRequest, match="multiple of 2"):
        DevboxRequest.from_body({"launch_parameters": fields})
