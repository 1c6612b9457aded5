"""`stockade serve`: its options and settings, and what it says."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from stockade.cli.access import Access, read_access, save_access
from stockade.cli.serve import chosen_settings, tell
from stockade.config import Settings
from stockade.server.database import database_url

FOUND = Access("http://127.0.0.1:8650", "")


def test_options_go_before_settings(tmp_path: Path) -> None:
    before = Settings(listen="192.0.2.1:1", domain="a.test")
    after = chosen_settings(before, ":80", tmp_path, tls=True)
    assert (after.listen, after.data_dir, after.tls) == (":80", tmp_path, True)
    assert after.domain == "a.test"
    assert chosen_settings(before, None, None, tls=False) == before
    assert chosen_settings(Settings(tls=True), None, None, tls=False).tls


def test_the_database_is_in_the_data_directory_unless_one_is_set() -> None:
    settings = Settings(data_dir=Path("/data/with ?mark"))
    assert make_url(database_url(settings)).database == "/data/with ?mark/stockade.db"
    url = "postgresql://me@db.example/stockade"
    assert database_url(Settings(database=url)) == url


def test_a_new_key_is_told_once_and_kept_for_root(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = Settings(data_dir=tmp_path)
    tell(settings, Access(FOUND.url, "ak_new"), "ak_new")
    assert "ak_new" in capsys.readouterr().out
    tell(settings, FOUND, None)
    said = capsys.readouterr().out
    assert said == "stockade: http://127.0.0.1:8650\n"
    assert read_access(tmp_path).api_key == "ak_new"


def test_a_given_key_takes_the_place_of_the_kept_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_access(tmp_path, Access("http://127.0.0.1:1", "ak_old"))
    tell(Settings(data_dir=tmp_path), Access(FOUND.url, "ak_given"), None)
    assert read_access(tmp_path) == Access(FOUND.url, "ak_given")
    assert "ak_given" not in capsys.readouterr().out
