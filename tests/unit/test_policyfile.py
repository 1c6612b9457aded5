"""Policy files: read, named after themselves, and refused by file, line and field."""

from __future__ import annotations

from pathlib import Path

import pytest

from stockade.errors import InvalidRequest
from stockade.policyfile import MAX_BYTES, line_of, load_policy

POLICY = """\
# What the tools need.
name = "tools"
allowed_hostnames = [
    "github.com",   # the apex
    "*.github.com",
]
[[allowed_cidrs]]
cidr = "10.0.0.0/8"
ports = [{ port = 5432, protocol = "TCP" }]
"""


def written(tmp_path: Path, text: str, name: str = "policy.toml") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_is_read(tmp_path: Path) -> None:
    policy = load_policy(written(tmp_path, POLICY))
    assert policy.name == "tools"
    assert [str(p) for p in policy.allowed_hostnames] == ["github.com", "*.github.com"]
    assert [str(entry) for entry in policy.allowed_cidrs] == ["10.0.0.0/8 5432/TCP"]


def test_a_file_without_a_name_is_named_after_itself(tmp_path: Path) -> None:
    assert load_policy(written(tmp_path, "", "ci.toml")).name == "ci"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        pytest.param(
            '"*.github.com"', '"git*.com"', ":5: allowed_hostnames", id="host"
        ),
        pytest.param("5432", "0", r":7: allowed_cidrs\[0\].ports\[0\].port", id="port"),
        pytest.param("10.0.0.0/8", "10.0.0.1/8", ":8: .*host bits", id="range"),
        pytest.param("cidr =", "cdir =", ":8: .*unknown field 'cdir'", id="field"),
        pytest.param("name =", "allow_al = true\nname =", ":2: .*allow_al", id="flag"),
        pytest.param("[[", "[", "policy.toml", id="a table instead of a list"),
        pytest.param('"tools"', "tools", "line 2", id="not TOML"),
    ],
)
def test_a_bad_file_is_refused_by_line(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    path = written(tmp_path, POLICY.replace(old, new, 1))
    with pytest.raises(InvalidRequest, match=said):
        load_policy(path)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="No such file"):
        load_policy(tmp_path / "absent.toml")
    with pytest.raises(InvalidRequest, match="directory"):
        load_policy(tmp_path)
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidRequest, match="not UTF-8"):
        load_policy(binary)
    large = tmp_path / "large.toml"
    with large.open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(InvalidRequest, match="larger than"):
        load_policy(large)


def test_what_only_a_comment_says_is_not_the_place() -> None:
    assert line_of("# bad\nx = 'bad'\n", "x: 'bad' is bad") == 2
    assert line_of("x = 1\n", "nothing quoted here") is None


def test_lists_nested_without_end_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path, "a = " + "[" * 100_000)
    with pytest.raises(InvalidRequest, match="nested too deeply"):
        load_policy(path)
