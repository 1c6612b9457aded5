"""Who is let in, what they see of others, and what a hostile request gets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from stockade.api import guard
from tests.unit.api.in_process import KEY, Api, refusal

POLICIES = "/v1/network-policies"
NOBODY = "npol_" + "0" * 21


async def other_account(api: Api) -> str:
    made = await api.call("POST", "/v1/stockade/accounts", {"name": "other"})
    key: str = made["key"]["key_secret"]
    return key


async def restricted(api: Api, **scopes: str) -> str:
    entries = [
        {
            "resource_type": f"RESOURCE_TYPE_{name}",
            "access_level": f"ACCESS_LEVEL_{level}",
        }
        for name, level in scopes.items()
    ]
    made = await api.call("POST", "/v1/restricted_keys", {"scopes": entries})
    key: str = made["key_secret"]
    assert key.startswith("rk_")
    return key


def test_only_health_needs_no_key(play: Any) -> None:
    async def scene(api: Api) -> None:
        paths = (await api.call("GET", "/openapi.json"))["paths"]
        assert len(paths) > 20
        tried = set()
        async with api.client(None) as http:
            for path, operations in paths.items():
                for method in operations:
                    response = await http.request(method.upper(), path)
                    tried.add((path, response.status_code))
            for path in ("/openapi.json", "/docs", "/nothing", "/healthz/"):
                refusal(await http.get(path), 401)
        open_to_all = {path for path, status in tried if status == 200}
        assert open_to_all == {"/healthz", "/readyz"}
        # A signed URL without its signature is not a request that can be understood.
        assert {path for path, status in tried if status == 400} == {
            "/v1/stockade/objects/{object_id}/content"
        }
        assert {status for _, status in tried} == {200, 400, 401}

    play(scene)


def test_what_is_no_key_is_refused(play: Any) -> None:
    bad = [
        "",
        "Bearer",
        "Bearer ",
        f"Basic {KEY}",
        f"Bearer {KEY}x",
        KEY,
        "Bearer \xff",
    ]

    async def scene(api: Api) -> None:
        async with api.client(None) as http:
            for header in bad:
                raw = {b"authorization": header.encode("latin-1")}
                refusal(await http.get("/v1/accounts/me", headers=raw), 401)
            headers = {"authorization": f"bearer {KEY}"}
            good = await http.get("/v1/accounts/me", headers=headers)
            assert good.status_code == 200

    play(scene)


def test_keys_expire_and_are_revoked_at_once(play: Any) -> None:
    async def scene(api: Api) -> None:
        soon = api.clock() + 5_000
        short = await api.call("POST", "/v1/apikeys", {"expires_at_ms": soon})
        other = await api.call("POST", "/v1/apikeys", {"name": "other"})
        async with (
            api.client(short["key_secret"]) as expiring,
            api.client(other["key_secret"]) as revoked,
        ):
            for http in (expiring, revoked):
                assert (await http.get("/v1/accounts/me")).status_code == 200
            await api.call("POST", f"/v1/stockade/keys/{other['id']}/revoke")
            refusal(await revoked.get("/v1/accounts/me"), 401)
            api.clock.ahead = 10_000
            refusal(await expiring.get("/v1/accounts/me"), 401)
        listed = (await api.call("GET", "/v1/stockade/keys"))["keys"]
        assert other["id"] not in [key["id"] for key in listed]
        assert "key_secret" not in json.dumps(listed)

    play(scene)


def test_the_database_holds_no_key_and_no_secret(play: Any) -> None:
    async def scene(api: Api) -> None:
        made = await api.call("POST", "/v1/apikeys", {})
        body = {"name": "TOKEN", "value": "v-e-r-y-secret"}
        await api.call("POST", "/v1/secrets", body)
        found = b"".join(path.read_bytes() for path in api.directory.glob("state.db*"))
        assert made["key_secret"].encode() not in found
        assert b"v-e-r-y-secret" not in found
        if found:
            assert made["id"].encode() in found
        assert (api.directory / "secret.key").stat().st_mode & 0o077 == 0

    play(scene)


def test_another_account_sees_and_touches_nothing(play: Any) -> None:
    async def scene(api: Api) -> None:
        policy = await api.call("POST", POLICIES, {"name": "p"})
        secret = await api.call("POST", "/v1/secrets", {"name": "s", "value": "v"})
        body = {"name": "o", "content_type": "text"}
        stored = await api.call("POST", "/v1/objects", body)
        config = {"name": "g", "endpoint": "https://api.example"}
        auth = {"auth_mechanism": {"type": "bearer"}}
        gateway = await api.call("POST", "/v1/gateway-configs", {**config, **auth})
        tools = {"allowed_tools": ["*"]}
        mcp = await api.call("POST", "/v1/mcp-configs", {**config, **tools})
        mine = (await api.call("GET", "/v1/stockade/keys"))["keys"][0]["id"]
        bodies: tuple[tuple[str, dict[str, str] | None], ...]
        async with api.client(await other_account(api)) as http:
            bodies = (
                (f"{POLICIES}/{policy['id']}", {}),
                (f"/v1/secrets/id/{secret['id']}", None),
                ("/v1/secrets/s", {"value": "x"}),
                (f"/v1/objects/{stored['id']}", None),
                (f"/v1/gateway-configs/{gateway['id']}", {}),
                (f"/v1/mcp-configs/{mcp['id']}", {}),
            )
            for path, change in bodies:
                refusal(await http.get(path), 404)
                refusal(await http.post(f"{path}/delete", json={}), 404)
                if change is not None:
                    refusal(await http.post(path, json=change), 404)
            refusal(await http.post(f"/v1/objects/{stored['id']}/complete"), 404)
            refusal(await http.get(f"/v1/objects/{stored['id']}/download"), 404)
            rollout = f"/v1/stockade/network_policies/{policy['id']}/rollout"
            refusal(await http.get(rollout), 404)
            refusal(await http.post(f"/v1/stockade/keys/{mine}/revoke"), 404)
            refusal(await http.get("/v1/stockade/accounts"), 403)
            body = {"name": "z"}
            refusal(await http.post("/v1/stockade/accounts", json=body), 403)
            for path, items in (
                (POLICIES, "network_policies"),
                ("/v1/secrets", "secrets"),
                ("/v1/objects", "objects"),
                ("/v1/mcp-configs", "mcp_configs"),
            ):
                assert (await http.get(path)).json()[items] == []
            # The same names are free there.
            made = await http.post("/v1/secrets", json={"name": "s", "value": "w"})
            assert made.status_code == 200

    play(scene)


def test_a_restricted_key_does_what_its_scopes_say(play: Any) -> None:
    async def scene(api: Api) -> None:
        reader = await restricted(api, DEVBOXES="READ")
        writer = await restricted(api, ACCOUNT="WRITE", DEVBOXES="NONE")
        body = {"name": "p"}
        async with api.client(reader) as http:
            assert (await http.get(POLICIES)).status_code == 200
            assert (await http.get("/v1/accounts/me")).status_code == 200
            refusal(await http.post(POLICIES, json=body), 403)
            refusal(await http.get("/v1/secrets"), 403)
            refusal(await http.post("/v1/apikeys", json={}), 403)
        async with api.client(writer) as http:
            assert (await http.post(POLICIES, json=body)).status_code == 200
            refusal(await http.get(POLICIES), 403)
            # It cannot give more than it has.
            refusal(await http.post("/v1/apikeys", json={}), 403)
            wide = {
                "resource_type": "RESOURCE_TYPE_DEVBOXES",
                "access_level": "ACCESS_LEVEL_READ",
            }
            refusal(
                await http.post("/v1/restricted_keys", json={"scopes": [wide]}), 403
            )
            same = {**wide, "resource_type": "RESOURCE_TYPE_ACCOUNT"}
            made = await http.post("/v1/restricted_keys", json={"scopes": [same]})
            assert made.status_code == 200

    play(scene)


BAD_BODIES = {
    "cut off": (b"{", 400),
    "empty": (b"", 400),
    "null": (b"null", 400),
    "a list": (b"[]", 400),
    "deep list": (b"[" * 200_000, 400),
    "deep object": (b'{"a":' * 100_000, 400),
    "not a number": (b'{"name": NaN}', 400),
    "half a character": (b'{"name": "\\ud800"}', 400),
    "NUL": (b'{"name": "a\\u0000"}', 400),
    "NUL in a key": (b'{"\\u0000": "a"}', 400),
    "not UTF-8": (b'{"name": "\xff"}', 400),
    "long number": (b'{"name": ' + b"1" * 5_000 + b"}", 400),
    "long name": (b'{"name": "' + b"x" * 300 + b'"}', 400),
    "misspelt": (b'{"name": "x", "nmae": "y"}', 400),
    "large": (b" " * (1 << 20) + b"{}", 413),
}


def test_bad_bodies_get_a_clear_refusal(play: Any) -> None:
    async def scene(api: Api) -> None:
        headers = {"content-type": "application/json"}
        made = await api.call("POST", POLICIES, {"name": "p"})
        for path in (POLICIES, f"{POLICIES}/{made['id']}"):
            for name, (body, status) in BAD_BODIES.items():
                # With a length that is declared, and without.
                for content in (body, _pieces(body)):
                    response = await api.http.post(
                        path, content=content, headers=headers
                    )
                    assert refusal(response, status)["message"], name
        assert (await api.call("GET", POLICIES))["total_count"] == 1
        assert (await api.call("GET", f"{POLICIES}/{made['id']}")) == made

    play(scene)


async def _pieces(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), 1 << 16):
        yield body[start : start + (1 << 16)]


BAD_PATHS = [
    (f"{POLICIES}/npol_short", 400),
    (f"{POLICIES}/dbx_{'0' * 21}", 400),
    (f"{POLICIES}/npol_{'0' * 20}%2e", 400),
    (f"{POLICIES}/npol_{'0' * 20}%00", 400),
    (f"{POLICIES}/%f0%9f%92%a9", 400),
    (f"{POLICIES}/..%2f..%2fetc%2fpasswd", 404),
    (f"{POLICIES}/{NOBODY}", 404),
    (f"{POLICIES}?limit=5001", 400),
    (f"{POLICIES}?limit=-1", 400),
    (f"{POLICIES}?limit=x", 400),
    (f"{POLICIES}?name=%00", 400),
    (f"{POLICIES}?starting_after=x", 400),
    ("/v1/secrets/..", 404),
    ("/v1/nothing", 404),
    ("/v1/axons", 501),
    ("/v1/axons/axn_1/events", 501),
]


def test_bad_paths_get_a_clear_refusal(play: Any) -> None:
    async def scene(api: Api) -> None:
        for path, status in BAD_PATHS:
            await api.refused(status, "GET", path)

    play(scene)


def test_a_client_that_sends_nothing_is_not_waited_for(
    play: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "BODY_SECONDS", 0.05)

    async def scene(api: Api) -> None:
        async def stalled() -> Any:
            yield b"{"
            await asyncio.sleep(60)

        headers = {"content-type": "application/json"}
        response = await api.http.post(POLICIES, content=stalled(), headers=headers)
        assert response.status_code == 408

    play(scene)
