"""Secrets over HTTP: their values never come back, but to devboxes."""

from __future__ import annotations

from typing import Any

import pytest

from stockade.control.sealing import Sealer, load_key
from stockade.errors import InvalidRequest, Unavailable
from tests.unit.api.in_process import Api

PATH = "/v1/secrets"


def test_a_secret_lives_by_name_and_by_id(play: Any) -> None:
    async def scene(api: Api) -> None:
        account = (await api.call("GET", "/v1/accounts/me"))["id"]
        made = await api.call("POST", PATH, {"name": "GH-TOKEN", "value": "one"})
        assert set(made) == {"id", "name", "create_time_ms", "update_time_ms"}
        changed = await api.call("POST", f"{PATH}/GH-TOKEN", {"value": "two"})
        assert changed["update_time_ms"] > made["update_time_ms"]
        by_id = f"{PATH}/id/{made['id']}"
        assert await api.call("GET", by_id) == changed
        assert await api.call("GET", f"{PATH}/GH-TOKEN") == changed
        secrets = api.services.secrets
        assert await secrets.values(account, ["GH-TOKEN", made["id"]]) == {
            "GH-TOKEN": "two",
            made["id"]: "two",
        }
        await api.call("POST", f"{by_id}/update", {"value": "three"})
        assert await secrets.values(account, ["GH-TOKEN"]) == {"GH-TOKEN": "three"}
        assert (await api.call("GET", PATH))["total_count"] == 1
        await api.call("POST", f"{by_id}/delete")
        await api.refused(404, "GET", by_id)
        await api.refused(404, "GET", f"{PATH}/GH-TOKEN")
        with pytest.raises(InvalidRequest, match="GH-TOKEN"):
            await secrets.values(account, ["GH-TOKEN"])
        again = await api.call("POST", PATH, {"name": "GH-TOKEN", "value": "four"})
        assert again["id"] > made["id"]

    play(scene)


BAD_SECRETS = [
    {"name": "a b", "value": "v"},
    {"name": "", "value": "v"},
    {"name": "a/b", "value": "v"},
    {"name": "x" * 256, "value": "v"},
    {"name": "taken", "value": "v"},
    {"name": "large", "value": "v" * 70_000},
    {"name": "n"},
    {"value": "v"},
]


def test_bad_secrets_are_refused(play: Any) -> None:
    async def scene(api: Api) -> None:
        await api.call("POST", PATH, {"name": "taken", "value": "v"})
        for body in BAD_SECRETS:
            refused = await api.refused(400, "POST", PATH, body)
            assert "vvvv" not in str(refused)
        assert (await api.call("GET", PATH))["total_count"] == 1

    play(scene)


def test_names_are_looked_for_before_ids(play: Any) -> None:
    async def scene(api: Api) -> None:
        account = (await api.call("GET", "/v1/accounts/me"))["id"]
        first = await api.call("POST", PATH, {"name": "a", "value": "by id"})
        await api.call("POST", PATH, {"name": first["id"], "value": "by name"})
        found = await api.services.secrets.values(account, [first["id"]])
        assert found == {first["id"]: "by name"}

    play(scene)


def test_what_is_sealed_opens_for_its_purpose_only(tmp_path: Any) -> None:
    numbers = iter(range(100))

    def chance(count: int) -> bytes:
        return next(numbers).to_bytes(count, "big")

    key = load_key(tmp_path / "key", chance)
    assert load_key(tmp_path / "key", chance) == key
    sealer = Sealer(key, chance)
    sealed = sealer.seal("text", "one")
    assert sealer.unseal(sealed, "one") == "text"
    assert sealer.seal("text", "one") != sealed
    with pytest.raises(Unavailable):
        sealer.unseal(sealed, "two")
    with pytest.raises(Unavailable):
        Sealer(b"x" * 32, chance).unseal(sealed, "one")
    (tmp_path / "key").chmod(0o644)
    with pytest.raises(InvalidRequest, match="others"):
        load_key(tmp_path / "key", chance)
    (tmp_path / "short").write_bytes(b"c2hvcnQ=\n")
    (tmp_path / "short").chmod(0o600)
    with pytest.raises(InvalidRequest, match="32 bytes"):
        load_key(tmp_path / "short", chance)
