"""`stockade policy test`: the decision, its reason and rule, and the exit status."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from stockade.cli.policy import parse_target, policy
from stockade.errors import InvalidRequest
from stockade.policy.model import Transport

POLICY = """
name = "tools"
allowed_hostnames = ["github.com", "*.github.com"]
[[allowed_cidrs]]
cidr = "203.0.113.0/24"
ports = [{ port = 443, protocol = "TCP" }, { port = 8000, end_port = 8080 }]
[[allowed_cidrs]]
cidr = "2001:db8::/32"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "policy.toml"
    path.write_text(POLICY, encoding="utf-8")
    return path


def ask(path: Path, *argv: str) -> Result:
    return CliRunner().invoke(policy, ["test", "--policy", str(path), *argv])


@pytest.mark.parametrize(
    ("target", "status", "reason", "rule"),
    [
        ("https://api.github.com:443", 0, "allowed_hostname", "*.github.com"),
        ("https://github.com/a/b?c#d", 0, "allowed_hostname", "github.com"),
        ("GitHub.com.", 0, "allowed_hostname", "github.com"),
        ("github.com:22", 0, "allowed_hostname", "github.com"),
        ("ssh://git@github.com/a", 0, "allowed_hostname", "github.com"),
        ("evilgithub.com", 1, "hostname_not_allowed", "--allow evilgithub.com"),
        ("http://github.com.evil.example", 1, "hostname_not_allowed", ""),
        ("203.0.113.9", 0, "allowed_cidr", "203.0.113.0/24 443/TCP"),
        ("203.0.113.9:8040", 0, "allowed_cidr", "203.0.113.0/24"),
        ("203.0.113.9:80", 1, "address_not_allowed", ""),
        ("[2001:db8::1]:22", 0, "allowed_cidr", "2001:db8::/32"),
        ("2001:db8::1", 0, "allowed_cidr", "2001:db8::/32"),
        ("https://[2001:db8::1]/", 0, "allowed_cidr", "2001:db8::/32"),
        ("http://169.254.169.254/latest", 1, "guardrail_metadata", ""),
        ("127.0.0.1:22", 1, "guardrail_loopback", ""),
        ("192.168.1.1", 1, "guardrail_private", ""),
    ],
)
def test_decisions(
    file: Path, target: str, status: int, reason: str, rule: str
) -> None:
    result = ask(file, target)
    assert result.exit_code == status
    assert reason in result.output
    assert rule in result.output
    assert result.output.split()[0] == ("deny" if status else "allow")


def test_one_denial_among_several_fails(file: Path) -> None:
    result = ask(file, "github.com", "a.example", "api.github.com")
    assert result.exit_code == 1
    assert [line.split()[0] for line in result.output.splitlines()] == [
        "allow",
        "deny",
        "allow",
    ]


def test_json_is_one_object_a_target(file: Path) -> None:
    result = ask(file, "--json", "https://api.github.com", "[2001:db8::1]:53")
    first, second = [json.loads(line) for line in result.output.splitlines()]
    assert first == {
        "target": "https://api.github.com",
        "name": "api.github.com",
        "address": None,
        "port": 443,
        "transport": "TCP",
        "verdict": "allow",
        "reason": "allowed_hostname",
        "rule": "allowed_hostnames: *.github.com",
    }
    assert (second["address"], second["port"]) == ("2001:db8::1", 53)


def test_udp_is_asked_for_by_name(file: Path) -> None:
    assert ask(file, "--udp", "github.com:53").exit_code == 0
    assert ask(file, "--udp", "203.0.113.9:443").exit_code == 1
    quic = ask(file, "--udp", "github.com:443")
    assert quic.exit_code == 1
    assert "quic" in quic.output


def test_the_operators_guardrails_hold(file: Path) -> None:
    argv = ["test", "--policy", str(file), "203.0.113.9"]
    environ = {"STOCKADE_DENY_CIDRS": "203.0.113.0/28"}
    result = CliRunner().invoke(policy, argv, env=environ)
    assert result.exit_code == 1
    assert "guardrail_operator" in result.output
    environ = {"STOCKADE_DENY_CIDRS": "nonsense"}
    assert CliRunner().invoke(policy, argv, env=environ).exit_code == 2


@pytest.mark.parametrize(
    "target",
    [
        "",
        "*.github.com",
        "github.com:0",
        "github.com:99999",
        "github.com:ssh",
        "gopher://a.example",
        "[::1",
        "a b",
        "user@",
        "-",
    ],
)
def test_a_question_that_cannot_be_understood_is_neither(
    file: Path, target: str
) -> None:
    result = ask(file, "--", target)
    assert result.exit_code == 2
    assert "Error" in result.output


def test_a_malformed_policy_is_neither(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text('name = "p"\nallowed_hostnames = ["*"]\n')
    assert ask(path, "github.com").exit_code == 2
    assert ask(tmp_path / "absent.toml", "github.com").exit_code == 2


def test_a_target_in_another_script_is_mapped() -> None:
    flow = parse_target("https://bücher.example").flow
    assert str(flow.name) == "xn--bcher-kva.example"
    assert flow.transport is Transport.TCP


def test_a_wildcard_is_no_target() -> None:
    with pytest.raises(InvalidRequest, match="one name"):
        parse_target("*.github.com")
