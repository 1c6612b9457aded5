"""Settings: file, variables, defaults, and what is said about a bad one."""

from __future__ import annotations

from pathlib import Path

import pytest

from stockade import config
from stockade.config import Settings, load_settings
from stockade.errors import InvalidRequest


@pytest.fixture(autouse=True)
def no_file_of_the_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(config, "DEFAULT_FILE", tmp_path / "absent.toml")


def written(tmp_path: Path, text: str) -> dict[str, str]:
    path = tmp_path / "stockade.toml"
    path.write_text(text, encoding="utf-8")
    return {"STOCKADE_CONFIG": str(path)}


def test_without_anything_the_defaults_hold() -> None:
    assert load_settings({}) == Settings()
    assert load_settings({"PATH": "/bin", "OTHER": "x"}) == Settings()


def test_a_file_is_read(tmp_path: Path) -> None:
    settings = load_settings(
        written(
            tmp_path,
            'data_dir = "/srv/data"\nruntime = "runc"\ntrust_host_cas = false\n'
            'open_private_cidrs = ["10.0.0.0/8", "fd00::/8"]\n'
            'extra_ca_files = ["/etc/ca.pem"]\ndenied_dns_answer = "nxdomain"\n',
        )
    )
    assert settings == Settings(
        data_dir=Path("/srv/data"),
        runtime="runc",
        trust_host_cas=False,
        open_private_cidrs=("10.0.0.0/8", "fd00::/8"),
        extra_ca_files=(Path("/etc/ca.pem"),),
        denied_dns_answer="nxdomain",
    )


def test_the_file_of_the_machine_is_read_where_there_is_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "default.toml"
    path.write_text('runtime = "runsc"\n', encoding="utf-8")
    monkeypatch.setattr(config, "DEFAULT_FILE", path)
    assert load_settings({}).runtime == "runsc"


def test_a_variable_goes_before_the_file(tmp_path: Path) -> None:
    environ = written(tmp_path, 'runtime = "runc"\ndata_dir = "/srv/data"\n')
    settings = load_settings({**environ, "STOCKADE_RUNTIME": "runsc"})
    assert (settings.runtime, settings.data_dir) == ("runsc", Path("/srv/data"))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", ()),
        ("10.0.0.0/8", ("10.0.0.0/8",)),
        ("10.0.0.0/8, fd00::/8 ,", ("10.0.0.0/8", "fd00::/8")),
    ],
)
def test_lists_in_variables_are_separated_by_commas(
    text: str, value: tuple[str, ...]
) -> None:
    settings = load_settings({"STOCKADE_OPEN_PRIVATE_CIDRS": text})
    assert settings.open_private_cidrs == value


@pytest.mark.parametrize(
    ("text", "value"), [("1", True), ("Yes", True), ("off", False), ("FALSE", False)]
)
def test_flags_in_variables_are_words(text: str, value: bool) -> None:
    assert load_settings({"STOCKADE_TRUST_HOST_CAS": text}).trust_host_cas is value


def test_numbers_are_read_from_files_and_variables(tmp_path: Path) -> None:
    assert load_settings({"STOCKADE_POLICY_LIMIT": "7"}).policy_limit == 7
    assert load_settings(written(tmp_path, "policy_limit = 8\n")).policy_limit == 8


@pytest.mark.parametrize("text", ["", "-1", "1.5", "x", "²", "9" * 5_000])
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="STOCKADE_POLICY_LIMIT"):
        load_settings({"STOCKADE_POLICY_LIMIT": text})


def test_files_in_variables_are_paths() -> None:
    settings = load_settings({"STOCKADE_EXTRA_CA_FILES": "/a.pem,/b.pem"})
    assert settings.extra_ca_files == (Path("/a.pem"), Path("/b.pem"))


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        pytest.param(
            {"STOCKADE_RUNTME": "runc"}, "STOCKADE_RUNTME: unknown", id="typo"
        ),
        pytest.param({"STOCKADE_TRUST_HOST_CAS": "2"}, "not true or false", id="flag"),
        pytest.param({"STOCKADE_DENIED_DNS_ANSWER": "x"}, "sinkhole, nx", id="choice"),
        pytest.param({"STOCKADE_DENY_CIDRS": "10.0.0.1/8"}, "deny_cidrs", id="CIDR"),
        pytest.param({"STOCKADE_DATA_DIR": "data"}, "not absolute", id="relative"),
        pytest.param({"STOCKADE_CONFIG": "/no/such/file"}, "No such file", id="file"),
    ],
)
def test_a_bad_variable_is_named(environ: dict[str, str], said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        load_settings(environ)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param('deny_cidr = ["10.0.0.0/8"]', "deny_cidr: unknown", id="a typo"),
        pytest.param("runtime = 7", "runtime: 7 is not a text", id="a number"),
        pytest.param('deny_cidrs = "no"', "deny_cidrs: 'no' does not", id="no range"),
        pytest.param("deny_cidrs = [7]", "not a list of texts", id="list of numbers"),
        pytest.param("runtime", "stockade.toml: ", id="not TOML"),
        pytest.param("a = '\xff'", "stockade.toml", id="not what it says"),
    ],
)
def test_a_bad_file_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        load_settings(written(tmp_path, text))


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidRequest, match=r"x\.toml"):
        load_settings({"STOCKADE_CONFIG": str(path)})
