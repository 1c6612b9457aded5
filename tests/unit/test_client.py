"""The client's aliases: the documented snippets, against an in-memory transport."""

from __future__ import annotations

import asyncio
import json

import httpx

from stockade.client import AsyncRunloopSDK, RunloopSDK

EGRESS = {
    "allow_all": False,
    "allow_devbox_to_devbox": False,
    "allow_agent_gateway": False,
    "allow_mcp_gateway": False,
    "allow_runloop_mirrors": False,
    "allowed_hostnames": ["github.com"],
    "allowed_cidrs": [],
}
POLICY = {
    "id": "npol_0123456789abcdefghijk",
    "name": "production-policy",
    "description": "for agents",
    "create_time_ms": 1,
    "update_time_ms": 2,
    "egress": EGRESS,
}
DEVBOX = {
    "id": "dbx_0123456789abcdefghijk",
    "name": "worker",
    "status": "running",
    "capabilities": [],
    "create_time_ms": 1,
    "launch_parameters": {"network_policy_id": POLICY["id"]},
    "metadata": {"team": "x"},
    "state_transitions": [],
}
BLUEPRINT = {
    "id": "bpt_0123456789abcdefghijk",
    "name": "python",
    "create_time_ms": 1,
    "parameters": {"name": "python"},
    "state": "created",
    "status": "build_complete",
}
LISTS = {
    "/v1/network-policies": ("network_policies", POLICY),
    "/v1/devboxes": ("devboxes", DEVBOX),
    "/v1/blueprints": ("blueprints", BLUEPRINT),
}


def answer(request: httpx.Request) -> httpx.Response:
    if request.method == "GET" and request.url.path in LISTS:
        key, item = LISTS[request.url.path]
        return httpx.Response(200, json={key: [item], "has_more": False})
    body = json.loads(request.content or b"{}")
    return httpx.Response(200, json={**POLICY, "name": body.get("name", "?")})


TRANSPORT = httpx.MockTransport(answer)
URL = "http://api.example"
KEY = "ak_x"


def test_the_documented_names_work() -> None:
    async def snippet() -> None:
        http = httpx.AsyncClient(transport=TRANSPORT)
        async with AsyncRunloopSDK(
            base_url=URL, bearer_token=KEY, http_client=http
        ) as runloop:
            policy = await runloop.network_policies.create(
                name="production-policy", allowed_hostnames=["github.com"]
            )
            assert policy.id == POLICY["id"]
            assert runloop.network_policies.from_id(policy.id).id == policy.id
            names = [it.name for it in await runloop.network_policies.list()]
            assert names == ["production-policy"]
            assert runloop.devboxes.from_id("dbx_1").id == "dbx_1"
            assert runloop.blueprints.from_id("bpt_1").id == "bpt_1"

    asyncio.run(snippet())


def test_listed_objects_carry_their_data_and_can_do_all_that_the_official_can() -> None:
    async def snippet() -> None:
        http = httpx.AsyncClient(transport=TRANSPORT)
        async with AsyncRunloopSDK(
            base_url=URL, bearer_token=KEY, http_client=http
        ) as runloop:
            (policy,) = await runloop.network_policies.list()
            assert policy.description == "for agents"
            assert policy.egress.allowed_hostnames == ["github.com"]
            assert (policy.create_time_ms, policy.update_time_ms) == (1, 2)
            assert (await policy.update(name="other")).name == "other"
            (devbox,) = await runloop.devboxes.list()
            assert (devbox.name, devbox.status) == ("worker", "running")
            assert devbox.metadata == {"team": "x"}
            assert devbox.network_policy_id == policy.id
            (blueprint,) = await runloop.blueprints.list()
            assert (blueprint.name, blueprint.status) == ("python", "build_complete")

    asyncio.run(snippet())


def test_the_synchronous_client_has_them_too() -> None:
    http = httpx.Client(transport=TRANSPORT)
    with RunloopSDK(base_url=URL, bearer_token=KEY, http_client=http) as runloop:
        created = runloop.network_policies.create(name="x")
        assert created.id == POLICY["id"]
        assert [it.name for it in runloop.network_policies.list()] == [POLICY["name"]]
        assert [it.status for it in runloop.devboxes.list()] == ["running"]
        assert [it.name for it in runloop.blueprints.list()] == ["python"]
