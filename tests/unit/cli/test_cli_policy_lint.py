"""`stockade policy lint`: what it finds, and on which line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from stockade.cli.lint_file import lines_of, lint_file
from stockade.cli.policy import policy


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "policy.toml"
    path.write_text(text, encoding="utf-8")
    return path


def lint(tmp_path: Path, text: str, *options: str) -> Result:
    argv = ["lint", str(write(tmp_path, text)), *options]
    return CliRunner().invoke(policy, argv, catch_exceptions=False)


def hosts(*names: str) -> str:
    lines = "".join(f"  {json.dumps(name)},\n" for name in names)
    return f'name = "p"\nallowed_hostnames = [\n{lines}]\n'


def cidrs(*ranges: str) -> str:
    tables = "".join(f'[[allowed_cidrs]]\ncidr = "{cidr}"\n' for cidr in ranges)
    return f'name = "p"\n{tables}'


CASES = [
    pytest.param(hosts("github.com"), [], id="a plain name is fine"),
    pytest.param(
        hosts("a.test.example", "*.test.example", "test.example"),
        [(3, "warning", "does nothing: *.test.example on line 4 covers it")],
        id="a name below a wildcard does nothing",
    ),
    pytest.param(
        hosts("*.b.test.example", "*.test.example", "test.example"),
        [(3, "warning", "does nothing: *.test.example on line 4 covers it")],
        id="a wildcard below a wildcard does nothing",
    ),
    pytest.param(
        hosts("*.test.example"),
        [(3, "info", "does not cover test.example itself")],
        id="the apex is not covered",
    ),
    pytest.param(
        hosts("test.example", "TEST.example."),
        [(4, "warning", "stands on line 3 already")],
        id="a duplicate in another spelling",
    ),
    pytest.param(
        hosts("*.co.uk", "co.uk"),
        [(3, "warning", "anybody can register a name below co.uk")],
        id="a wildcard over a public suffix",
    ),
    pytest.param(
        hosts("*.github.io", "github.io"),
        [(3, "warning", "anybody can register a name below github.io")],
        id="a wildcard over a private section suffix",
    ),
    pytest.param(
        hosts("*.amazonaws.com", "amazonaws.com"),
        [
            (3, "warning", "many customers of one provider share amazonaws.com"),
            (3, "warning", "anybody can store data at s3.amazonaws.com"),
        ],
        id="a wildcard over shared tenants",
    ),
    pytest.param(
        hosts("*.bucket.s3.amazonaws.com", "bucket.s3.amazonaws.com"),
        [],
        id="a wildcard below one tenant is fine",
    ),
    pytest.param(
        hosts("gist.github.com"),
        [(3, "warning", "anybody can store data at gist.github.com")],
        id="a drop box",
    ),
    pytest.param('name = "p"\n', [(1, "info", "nothing is allowed")], id="a name only"),
    pytest.param(
        'name = "p"\nallow_all = true\nallowed_hostnames = ["a.example"]\n',
        [(1, "warning", "not applied")],
        id="allow_all with lists",
    ),
    pytest.param('name = "p"\nallow_all = true\n', [], id="allow_all alone is fine"),
    pytest.param(
        cidrs("0.0.0.0/0"),
        [(3, "warning", "covers 4e+09 addresses")],
        id="everything",
    ),
    pytest.param(
        cidrs("203.0.113.0/24", "8.0.0.0/8", "2000::/3"),
        [(5, "warning", "addresses"), (7, "warning", "addresses")],
        id="broad ranges of both versions",
    ),
    pytest.param(
        cidrs("192.168.7.0/24", "fd12::/32"),
        [(3, "info", "private network"), (5, "info", "private network")],
        id="private ranges",
    ),
    pytest.param(
        cidrs("127.0.0.0/8", "169.254.169.254/32", "fe80::/10", "224.0.0.0/3"),
        [
            (3, "warning", "never takes effect"),
            (5, "warning", "(metadata)"),
            (7, "warning", "(link-local)"),
            (9, "warning", "(multicast, reserved)"),
        ],
        id="ranges no policy opens",
    ),
    pytest.param(
        cidrs("203.0.113.7/32", "203.0.113.0/24"),
        [(3, "warning", "does nothing: 203.0.113.0/24 on line 5 covers it")],
        id="a range inside another",
    ),
    pytest.param(
        cidrs("203.0.113.0/24", "203.0.113.0/24"),
        [(5, "warning", "does nothing: 203.0.113.0/24 on line 3 covers it")],
        id="the same range twice",
    ),
]


@pytest.mark.parametrize(("text", "expected"), CASES)
def test_findings(
    tmp_path: Path, text: str, expected: list[tuple[int, str, str]]
) -> None:
    found = lint_file(write(tmp_path, text))
    assert [(f.line, f.severity.value) for f in found] == [e[:2] for e in expected]
    for finding, (_, _, part) in zip(found, expected, strict=True):
        assert part in finding.message


def test_a_narrower_port_list_is_covered_only_by_all_ports(tmp_path: Path) -> None:
    text = cidrs("203.0.113.7/32") + "ports = [{port = 443}]\n"
    text += '[[allowed_cidrs]]\ncidr = "203.0.113.0/24"\n'
    assert len(lint_file(write(tmp_path, text))) == 1
    assert lint_file(write(tmp_path, text + "ports = [{port = 80}]\n")) == []


def test_the_report_names_file_line_and_severity(tmp_path: Path) -> None:
    result = lint(tmp_path, hosts("*.co.uk", "co.uk"))
    path = tmp_path / "policy.toml"
    assert result.output.startswith(f"{path}:3: warning: *.co.uk: anybody")
    assert result.exit_code == 0


def test_warnings_fail_when_strict(tmp_path: Path) -> None:
    assert lint(tmp_path, hosts("*.co.uk"), "--strict").exit_code == 1
    assert lint(tmp_path, hosts("*.test.example"), "--strict").exit_code == 0


def test_json_is_one_object_a_line(tmp_path: Path) -> None:
    result = lint(tmp_path, hosts("*.test.example"), "--json")
    [record] = [json.loads(line) for line in result.output.splitlines()]
    assert record["line"] == 3
    assert record["severity"] == "info"
    assert record["field"] == "allowed_hostnames"


@pytest.mark.parametrize(
    ("text", "part"),
    [
        pytest.param(hosts("*"), "allow_all", id="a bare wildcard"),
        pytest.param(hosts("a.*.example"), "wildcard", id="a wildcard in the middle"),
        pytest.param(hosts("https://a.example"), "URL", id="a URL"),
        pytest.param(hosts("192.0.2.1"), "allowed_cidrs", id="an address"),
        pytest.param(hosts("a.example:443"), "port", id="a port"),
        pytest.param('name = "p"\nallow_hosts = []\n', "allow_hosts", id="a field"),
        pytest.param('name = "p\n', "policy.toml", id="no TOML"),
        pytest.param(cidrs("192.0.2.1/24"), "host bits", id="host bits"),
    ],
)
def test_a_malformed_file_is_one_error(tmp_path: Path, text: str, part: str) -> None:
    result = lint(tmp_path, text)
    assert result.exit_code == 1
    assert result.output.startswith(f"{tmp_path}/policy.toml:")
    assert ": error: " in result.output
    assert part in result.output
    assert len(result.output.splitlines()) == 1


def test_a_malformed_entry_is_reported_on_its_line(tmp_path: Path) -> None:
    result = lint(tmp_path, hosts("a.example", "a.*.example"))
    assert result.output.startswith(f"{tmp_path}/policy.toml:4: error: ")


def test_lines_are_found_past_comments_and_strings_with_hashes() -> None:
    text = (
        "# allowed_hostnames are below\n"
        'description = "b.example # not here"\n'
        "allowed_hostnames = [\n"
        '  # "a.example",\n'
        "  'b.example',  \"a.example\",\n"
        '  "c\\u002eexample",\n'
        "]\n"
    )
    entries = ["b.example", "a.example", "c.example"]
    assert lines_of(text, "allowed_hostnames", entries) == [5, 5, 3]
