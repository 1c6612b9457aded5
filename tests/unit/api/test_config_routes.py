"""Gateway configs and MCP configs over HTTP."""

from __future__ import annotations

from typing import Any

from tests.unit.api.in_process import Api

GATEWAY = "/v1/gateway-configs"
MCP = "/v1/mcp-configs"
BASE = {"name": "g", "endpoint": "https://api.example/v1"}
HEADER = {"type": "header", "key": "x-api-key"}


def test_a_gateway_config_is_kept_changed_and_deleted(play: Any) -> None:
    async def scene(api: Api) -> None:
        account = (await api.call("GET", "/v1/accounts/me"))["id"]
        secret = await api.call("POST", "/v1/secrets", {"name": "S", "value": "v"})
        body = {
            **BASE,
            "auth_mechanism": HEADER,
            "custom_headers": [
                {"name": "A", "secret": "S"},
                {"name": "B", "value": "b"},
            ],
        }
        made = await api.call("POST", GATEWAY, body)
        assert made["auth_mechanism"] == HEADER
        assert made["account_id"] == account
        assert made["custom_headers"] == [
            {"name": "A", "secret": secret["id"], "value": None},
            {"name": "B", "secret": None, "value": "b"},
        ]
        path = f"{GATEWAY}/{made['id']}"
        assert await api.call("GET", path) == made
        changed = await api.call("POST", path, {"name": "h", "custom_headers": []})
        assert changed == {**made, "name": "h", "custom_headers": []}
        await api.call("POST", f"{path}/delete")
        await api.refused(404, "GET", path)

    play(scene)


def test_every_account_has_the_configs_of_the_system(play: Any) -> None:
    async def scene(api: Api) -> None:
        await api.call("POST", GATEWAY, {**BASE, "auth_mechanism": {"type": "bearer"}})
        listed = (await api.call("GET", GATEWAY))["gateway_configs"]
        assert [item["name"] for item in listed] == ["g", "openai", "anthropic"]
        found = (await api.call("GET", f"{GATEWAY}?name=open"))["gateway_configs"]
        assert found == [listed[1]]
        for item in listed[1:]:
            path = f"{GATEWAY}/{item['id']}"
            await api.refused(403, "POST", f"{path}/delete")
            await api.refused(403, "POST", path, {"endpoint": "https://evil.example"})

    play(scene)


def test_an_mcp_config_is_kept_changed_and_deleted(play: Any) -> None:
    async def scene(api: Api) -> None:
        made = await api.call("POST", MCP, {**BASE, "allowed_tools": ["git.*"]})
        assert made["auth_mechanism"] == {"type": "bearer", "key": None}
        path = f"{MCP}/{made['id']}"
        changed = await api.call("POST", path, {"allowed_tools": ["*"]})
        assert changed == {**made, "allowed_tools": ["*"]}
        assert (await api.call("GET", MCP))["mcp_configs"] == [changed]
        await api.refused(400, "POST", path, {"allowed_tools": []})
        # One kind is not found by the other's paths.
        await api.refused(400, "GET", f"{GATEWAY}/{made['id']}")
        await api.call("POST", f"{path}/delete")
        await api.refused(404, "GET", path)

    play(scene)


BAD_FIELDS: list[dict[str, Any]] = [
    {"endpoint": "ftp://a.example"},
    {"endpoint": "https://"},
    {"endpoint": "https://user:pass@a.example"},
    {"endpoint": "https://a.example/\r\nX: y"},
    {"endpoint": "https://a.example:99999"},
    {"auth_mechanism": {"type": "header"}},
    {"auth_mechanism": {"type": "bearer", "key": "x"}},
    {"auth_mechanism": {"type": "none"}},
    {"auth_mechanism": {"type": "header", "key": "a b"}},
    {"custom_headers": [{"name": "A"}]},
    {"custom_headers": [{"name": "A", "value": "x", "secret": "S"}]},
    {"custom_headers": [{"name": "A", "value": "x\r\ny: z"}]},
    {"custom_headers": [{"name": "A", "secret": "none"}]},
    {"custom_headers": [{"name": "A", "value": "1"}, {"name": "a", "value": "2"}]},
    {"custom_headers": [{"name": f"A{n}", "value": ""} for n in range(9)]},
    {"name": ""},
    {"name": None},
]


def test_what_cannot_work_is_refused(play: Any) -> None:
    async def scene(api: Api) -> None:
        for fields in BAD_FIELDS:
            body = {**BASE, "auth_mechanism": {"type": "bearer"}, **fields}
            await api.refused(400, "POST", GATEWAY, body)
        assert len((await api.call("GET", GATEWAY))["gateway_configs"]) == 2

    play(scene)
