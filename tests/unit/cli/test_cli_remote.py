"""The commands that speak to a server: what they ask, what they print, how they end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stockade.cli.access import Access, find_access, read_access, save_access
from stockade.cli.main import main
from stockade.cli.remote import refusal
from stockade.config import Settings
from stockade.errors import Conflict, InvalidRequest, Unavailable
from tests.unit.cli.fake_api import KEY, Answer, FakeApi

NPOL = "npol_0123456789abcdefghijk"
DBX = "dbx_0123456789abcdefghijk"
POLICIES = "/v1/network-policies"
BOX = f"/v1/devboxes/{DBX}"


def egress(**fields: Any) -> dict[str, Any]:
    flags = "allow_all allow_devbox_to_devbox allow_agent_gateway allow_mcp_gateway"
    values = dict.fromkeys([*flags.split(), "allow_runloop_mirrors"], False)
    return {**values, "allowed_hostnames": [], "allowed_cidrs": [], **fields}


def policy(name: str = "ci", **fields: Any) -> dict[str, Any]:
    return {
        "id": NPOL,
        "name": name,
        "description": None,
        "create_time_ms": 0,
        "update_time_ms": 0,
        "egress": egress(**fields),
    }


def devbox(status: str = "running") -> dict[str, Any]:
    return {
        "id": DBX,
        "name": "\x1b[31mred",
        "status": status,
        "create_time_ms": 0,
        "launch_parameters": {"network_policy_id": NPOL},
        "metadata": {},
    }


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeApi]:
    with FakeApi() as started:
        monkeypatch.setenv("RUNLOOP_BASE_URL", started.url)
        monkeypatch.setenv("RUNLOOP_API_KEY", KEY)
        yield started


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert isinstance(end.value.code, int)
    return end.value.code


def page(*items: dict[str, Any]) -> Answer:
    return Answer({"network_policies": [*items], "has_more": False})


def test_a_policy_is_created_with_what_the_options_say(
    api: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    api.on("POST", POLICIES, Answer(policy(allowed_hostnames=["a.test"])))
    options = ("--allow", "a.test", "--allow-cidr", "10.0.0.0/8@443/tcp")
    assert run("policy", "create", "ci", *options, "--agent-gateway") == 0
    ports = [{"port": 443, "protocol": "TCP"}]
    assert api.bodies(POLICIES) == [
        {
            "name": "ci",
            "allowed_hostnames": ["a.test"],
            "allowed_cidrs": [{"cidr": "10.0.0.0/8", "ports": ports}],
            "allow_agent_gateway": True,
        }
    ]
    assert NPOL in capsys.readouterr().out


def test_a_policy_is_found_by_its_exact_name(api: FakeApi) -> None:
    other = {**policy("ci-2"), "id": "npol_other"}
    api.on("GET", POLICIES, page(other, policy()))
    api.on("POST", f"{POLICIES}/{NPOL}", Answer(policy()))
    assert run("policy", "update", "ci", "--no-hostnames") == 0
    assert api.bodies(f"{POLICIES}/{NPOL}") == [{"allowed_hostnames": []}]


def test_a_name_that_is_not_there(
    api: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    api.on("GET", POLICIES, page())
    assert run("policy", "get", "ci") == 125
    assert "there is no network policy 'ci'" in capsys.readouterr().err


def test_waiting_for_a_change_to_be_in_force(
    api: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    def rollout(generation: int) -> Answer:
        box = {"devbox_id": DBX, "generation": generation, "flows_cut": 3}
        return Answer({"generation": 2, "devboxes": [box]})

    api.on("GET", f"{POLICIES}/{NPOL}", Answer(policy()))
    api.on("POST", f"{POLICIES}/{NPOL}", Answer(policy()))
    path = f"/v1/stockade/network_policies/{NPOL}/rollout"
    api.on("GET", path, rollout(1), rollout(2))
    assert run("policy", "update", NPOL, "--allow-all", "--wait") == 0
    said = capsys.readouterr().err
    assert "generation 2 is in force in 1 devboxes, 3 flows were cut" in said
    assert sum(asked.path == path for asked in api.asked) == 2


def test_apply_sends_every_field_and_diff_tells_them(
    api: FakeApi, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "ci.toml"
    file.write_text('allowed_hostnames = ["b.test"]\n')
    api.on("GET", POLICIES, page(policy(allowed_hostnames=["a.test"])))
    api.on("POST", f"{POLICIES}/{NPOL}", Answer(policy()))
    assert run("policy", "diff", "-f", str(file)) == 1
    said = capsys.readouterr().out.splitlines()
    assert said == ["- allowed_hostnames: a.test", "+ allowed_hostnames: b.test"]
    assert run("policy", "apply", "-f", str(file)) == 0
    (body,) = api.bodies(f"{POLICIES}/{NPOL}")
    assert body["allowed_hostnames"] == ["b.test"]
    # What the file does not say is cleared, not kept.
    assert body["description"] == ""
    assert body["allow_all"] is False
    assert body["allowed_cidrs"] == []


def test_diff_of_what_is_the_same(api: FakeApi, tmp_path: Path) -> None:
    file = tmp_path / "ci.toml"
    file.write_text('allowed_hostnames = ["a.test"]\n')
    api.on("GET", POLICIES, page(policy(allowed_hostnames=["a.test"])))
    assert run("policy", "diff", "-f", str(file)) == 0


def test_refusals_are_told_in_the_words_of_the_server(
    api: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    refused = Answer({"code": "policy_in_use", "message": "used by dbx_1"}, 400)
    api.on("GET", f"{POLICIES}/{NPOL}", Answer(policy()))
    api.on("POST", f"{POLICIES}/{NPOL}/delete", refused)
    assert run("policy", "delete", NPOL) == 125
    assert capsys.readouterr().err == "stockade: used by dbx_1\n"


def test_a_server_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RUNLOOP_BASE_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("RUNLOOP_API_KEY", KEY)
    assert run("policy", "list") == 125
    assert "does `stockade serve` run?" in capsys.readouterr().err


def test_tables_do_not_obey_what_a_devbox_is_named(
    api: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    api.on("GET", "/v1/devboxes", Answer({"devboxes": [devbox()], "has_more": False}))
    assert run("devbox", "list") == 0
    said = capsys.readouterr().out
    assert "\x1b" not in said
    assert "?[31mred" in said


def test_a_devbox_is_created_under_a_named_policy(
    api: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    api.on("GET", POLICIES, page(policy()))
    api.on("POST", "/v1/devboxes", Answer(devbox("provisioning")))
    wait = f"{BOX}/wait_for_status"
    api.on("POST", wait, Answer({"message": "no"}, 408), Answer(devbox()))
    assert run("devbox", "create", "--policy", "ci", "-e", "A=1") == 0
    assert api.bodies("/v1/devboxes") == [
        {
            "environment_variables": {"A": "1"},
            "launch_parameters": {"network_policy_id": NPOL},
        }
    ]
    assert len(api.bodies(wait)) == 2
    assert capsys.readouterr().out == f"{DBX}\n"


def test_a_devbox_that_fails_is_an_error(
    api: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    api.on("POST", "/v1/devboxes", Answer(devbox("provisioning")))
    failed = {**devbox("failure"), "failure_reason": "execution_failed"}
    api.on("POST", f"{BOX}/wait_for_status", Answer(failed))
    assert run("devbox", "create") == 125
    assert "failure (execution_failed)" in capsys.readouterr().err


def sse(*chunks: tuple[str, int]) -> bytes:
    lines = [
        f"data: {json.dumps({'output': text, 'offset': offset})}\n\n"
        for text, offset in chunks
    ]
    return (": still here\n\n" + "".join(lines)).encode()


def execution(api: FakeApi, status: int) -> str:
    path = f"{BOX}/executions/exe_1"
    view = {"execution_id": "exe_1", "status": "running"}
    api.on("POST", f"{BOX}/execute_async", Answer(view))
    done = {**view, "status": "completed", "exit_status": status}
    api.on("POST", f"{path}/wait_for_status", Answer(done))
    return path


def test_exec_writes_the_outputs_and_ends_with_the_status(
    api: FakeApi, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    path = execution(api, 7)
    out = sse(("é\n", 3), ("two\n", 7))
    api.on("GET", f"{path}/stream_stdout_updates", Answer(content=out))
    api.on("GET", f"{path}/stream_stderr_updates", Answer(content=sse(("err", 3))))
    assert run("devbox", "exec", DBX, "echo", "a b") == 7
    said = capfdbinary.readouterr()
    assert (said.out, said.err) == ("é\ntwo\n".encode(), b"err")
    assert api.bodies(f"{BOX}/execute_async") == [
        {"command": "echo 'a b'", "attach_stdin": False}
    ]


def test_a_stream_that_breaks_is_taken_up_where_it_broke(
    api: FakeApi, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    path = execution(api, 0)
    broken = sse(("one ", 4)) + b'event: error\ndata: {"code": 408, "message": "x"}\n\n'
    stdout = f"{path}/stream_stdout_updates"
    api.on("GET", stdout, Answer(content=broken), Answer(content=sse(("two", 7))))
    api.on("GET", f"{path}/stream_stderr_updates", Answer(content=b""))
    assert run("devbox", "exec", DBX, "x") == 0
    assert capfdbinary.readouterr().out == b"one two"
    assert [a.query["offset"] for a in api.asked if a.path == stdout] == ["0", "4"]


def test_cp_copies_out_and_in(api: FakeApi, tmp_path: Path) -> None:
    api.on("POST", f"{BOX}/download_file", Answer(content=b"\x00data"))
    api.on("POST", f"{BOX}/upload_file", Answer({}))
    file = tmp_path / "out.bin"
    assert run("devbox", "cp", f"{DBX}:a/b", str(file)) == 0
    assert file.read_bytes() == b"\x00data"
    assert api.bodies(f"{BOX}/download_file") == [{"path": "a/b"}]
    assert run("devbox", "cp", str(file), f"{DBX}:/tmp/") == 0
    sent = api.asked[-1].content
    assert b'name="path"\r\n\r\n/tmp/out.bin\r\n' in sent
    assert b"\x00data" in sent


def test_a_download_that_fails_leaves_no_file(api: FakeApi, tmp_path: Path) -> None:
    api.on("POST", f"{BOX}/download_file", Answer({"message": "no such file"}, 404))
    assert run("devbox", "cp", f"{DBX}:a", str(tmp_path / "out")) == 125
    assert [*tmp_path.iterdir()] == []


def test_the_local_server_is_for_its_owner_and_its_url_only(tmp_path: Path) -> None:
    access = Access("http://127.0.0.1:8650", "ak_local")
    save_access(tmp_path, access)
    assert (tmp_path / "server.json").stat().st_mode & 0o777 == 0o600
    assert read_access(tmp_path) == access
    settings = Settings(data_dir=tmp_path)
    assert find_access({}, settings) == access
    with pytest.raises(InvalidRequest, match="set RUNLOOP_API_KEY too"):
        find_access({"RUNLOOP_BASE_URL": "https://api.evil.example"}, settings)
    with pytest.raises(InvalidRequest, match="no server to talk to"):
        find_access({}, Settings(data_dir=tmp_path / "none"))


def test_a_server_whose_key_is_not_kept(tmp_path: Path) -> None:
    save_access(tmp_path, Access("http://127.0.0.1:8650", ""))
    with pytest.raises(InvalidRequest, match="no key is kept"):
        find_access({}, Settings(data_dir=tmp_path))
    given = find_access({"RUNLOOP_API_KEY": "ak_x"}, Settings(data_dir=tmp_path))
    assert given.api_key == "ak_x"


def test_env_is_for_a_shell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_access(tmp_path, Access("https://api.a.test", "ak_x", "/a b/ca.pem"))
    assert run("env", "--data", str(tmp_path)) == 0
    assert capsys.readouterr().out.splitlines() == [
        "export RUNLOOP_BASE_URL=https://api.a.test",
        "export RUNLOOP_API_KEY=ak_x",
        "export SSL_CERT_FILE='/a b/ca.pem'",
    ]


def test_refusals_by_status() -> None:
    assert isinstance(refusal(409, b'{"message": "taken"}'), Conflict)
    assert isinstance(refusal(502, b"<html>"), Unavailable)
    assert str(refusal(500, b"")) == "status 500"


def test_keys_are_printed_alone(
    api: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    made = {"id": "key_1", "name": "ci", "key_secret": "rk_secret"}
    api.on("POST", "/v1/restricted_keys", Answer(made))
    options = ("--name", "ci", "--scope", "devboxes=write", "--scope", "account=read")
    assert run("key", "create", *options) == 0
    assert capsys.readouterr().out == "rk_secret\n"
    (body,) = api.bodies("/v1/restricted_keys")
    assert body["scopes"] == [
        {
            "resource_type": "RESOURCE_TYPE_DEVBOXES",
            "access_level": "ACCESS_LEVEL_WRITE",
        },
        {"resource_type": "RESOURCE_TYPE_ACCOUNT", "access_level": "ACCESS_LEVEL_READ"},
    ]


def test_keys_are_listed_and_revoked(
    api: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    level = {
        "resource_type": "RESOURCE_TYPE_DEVBOXES",
        "access_level": "ACCESS_LEVEL_READ",
    }
    key = {"id": "key_1", "name": "ci", "create_time_ms": 0, "scopes": [level]}
    api.on("GET", "/v1/stockade/keys", Answer({"keys": [key]}))
    api.on("POST", "/v1/stockade/keys/key_1/revoke", Answer(key))
    assert run("key", "list") == 0
    assert "devboxes=read" in capsys.readouterr().out
    assert run("key", "revoke", "key_1") == 0
    assert capsys.readouterr().out == "revoked key_1\n"


def test_a_scope_that_does_not_exist(
    api: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("key", "create", "--scope", "policies=write") == 125
    assert "write RESOURCE=LEVEL" in capsys.readouterr().err
    assert api.asked == []


def test_an_account_comes_with_a_key(
    api: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    made = {"account": {"id": "acc_1"}, "key": {"key_secret": "ak_secret"}}
    api.on("POST", "/v1/stockade/accounts", Answer(made))
    assert run("account", "create", "ci") == 0
    said = capsys.readouterr()
    assert said.out == "ak_secret\n"
    assert "acc_1" in said.err
