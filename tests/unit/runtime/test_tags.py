"""Names of images: what can be one, and whose it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from stockade.errors import InvalidRequest
from stockade.runtime.imageconfig import read_config
from stockade.runtime.tags import Tags, check_name


@pytest.mark.parametrize("name", ["a", "ubuntu:22.04", "ghcr.example/team/x:1+2@y"])
def test_names_as_other_tools_have_them(tmp_path: Path, name: str) -> None:
    tags = Tags(tmp_path)
    tags.set(check_name(name), "1")
    assert tags.get(name) == "1"
    tags.set(name, "2")
    tags.remove(name, "1")
    assert tags.all() == {name: "2"}
    tags.remove(name, "2")
    assert tags.get(name) is None
    assert tags.all() == {}


@pytest.mark.parametrize(
    "name",
    [
        *("", "default", "../x", "/etc/x", "a b", "a\n", "x" * 300, "-x"),
        *("0123456789ab", f"sha256:{'0' * 64}"),
    ],
)
def test_what_cannot_be_a_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidRequest, match="cannot be called"):
        check_name(name)
    assert Tags(tmp_path).get(name) is None


def test_the_configuration_is_read() -> None:
    config = read_config(
        {
            "config": {
                "Env": ["PATH=/bin", "EMPTY="],
                "User": "1000:1000",
                "WorkingDir": "",
                "Entrypoint": ["/bin/x"],
                "Cmd": None,
            }
        }
    )
    assert dict(config.env) == {"PATH": "/bin", "EMPTY": ""}
    assert (config.user, config.workdir) == ("1000:1000", None)
    assert (config.entrypoint, config.command) == (("/bin/x",), ())
    assert read_config({}).env == {}


@pytest.mark.parametrize(
    "config",
    [
        [],
        {"Env": "A=b"},
        {"Env": ["A"]},
        {"Env": ["=b"]},
        {"Env": ["A=\0"]},
        {"Env": [5]},
        {"Env": ["A=" + "x" * (1 << 20)]},
        {"User": 5},
        {"WorkingDir": "/\0"},
        {"Cmd": "sh -c x"},
    ],
)
def test_a_hostile_configuration_is_refused(config: object) -> None:
    with pytest.raises(InvalidRequest):
        read_config({"config": config})
