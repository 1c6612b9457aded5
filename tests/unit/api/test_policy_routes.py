"""Network policies over HTTP: shapes, idempotency, pages, the word of the rollout."""

from __future__ import annotations

import asyncio
from typing import Any

from stockade.control.attachments import attach, set_running
from stockade.spec import DevboxId
from tests.unit.api.in_process import Api, refusal

PATH = "/v1/network-policies"
BOX = DevboxId("dbx_" + "0" * 21)
RULES = {
    "allowed_hostnames": ["github.com", "*.GitHub.com", "github.com"],
    "allowed_cidrs": [
        {"cidr": "10.12.0.0/16", "ports": [{"port": 443, "protocol": "TCP"}]},
        {"cidr": "192.0.2.0/24"},
    ],
    "description": "for agents",
}


def test_a_policy_has_all_fields_of_the_contract(play: Any) -> None:
    async def scene(api: Api) -> None:
        made = await api.call("POST", PATH, {"name": "p", **RULES})
        assert made == await api.call("GET", f"{PATH}/{made['id']}")
        assert made["description"] == "for agents"
        assert isinstance(made["create_time_ms"], int)
        assert made["egress"] == {
            "allow_all": False,
            "allow_devbox_to_devbox": False,
            "allow_agent_gateway": False,
            "allow_mcp_gateway": False,
            "allow_runloop_mirrors": False,
            "allowed_hostnames": ["github.com", "*.github.com"],
            "allowed_cidrs": [
                {
                    "cidr": "10.12.0.0/16",
                    "ports": [{"port": 443, "end_port": None, "protocol": "TCP"}],
                },
                {"cidr": "192.0.2.0/24", "ports": []},
            ],
        }
        gone = await api.call("POST", f"{PATH}/{made['id']}/delete")
        assert gone == made
        await api.refused(404, "GET", f"{PATH}/{made['id']}")

    play(scene)


def test_a_repeated_request_makes_one_policy(play: Any) -> None:
    async def scene(api: Api) -> None:
        headers = {"x-request-id": "once"}

        async def create(name: str) -> Any:
            return await api.http.post(PATH, json={"name": name}, headers=headers)

        answers = await asyncio.gather(*(create("p") for _ in range(8)))
        assert {answer.status_code for answer in answers} == {200}
        assert len({answer.json()["id"] for answer in answers}) == 1
        assert (await create("p")).json() == answers[0].json()
        body = refusal(await create("q"), 409)
        assert body["code"] == "idempotency_key_reused"
        assert (await api.call("GET", PATH))["total_count"] == 1
        # Deleted, its key makes another one.
        await api.call("POST", f"{PATH}/{answers[0].json()['id']}/delete")
        again = (await create("p")).json()
        assert again["id"] != answers[0].json()["id"]
        # After a day, the name is in the way and no longer the key.
        api.clock.ahead = 25 * 3600 * 1000
        body = refusal(await create("p"), 409)
        assert body == {**body, "code": "network_policy_name_taken", "id": again["id"]}

    play(scene)


def test_a_request_that_failed_is_not_remembered(play: Any) -> None:
    async def scene(api: Api) -> None:
        headers = {"x-request-id": "once"}
        await api.call("POST", PATH, {"name": "p"})
        body = {"name": "p"}
        refusal(await api.http.post(PATH, json=body, headers=headers), 409)
        found = (await api.call("GET", PATH))["network_policies"][0]["id"]
        await api.call("POST", f"{PATH}/{found}/delete")
        made = await api.http.post(PATH, json=body, headers=headers)
        assert made.status_code == 200

    play(scene)


def test_keys_of_two_accounts_are_two_keys(play: Any) -> None:
    async def scene(api: Api) -> None:
        body = {"name": "other"}
        other = await api.call("POST", "/v1/stockade/accounts", body)
        headers = {"x-request-id": "once"}
        made = await api.http.post(PATH, json={"name": "p"}, headers=headers)
        async with api.client(other["key"]["key_secret"]) as http:
            theirs = await http.post(PATH, json={"name": "p"}, headers=headers)
        assert theirs.status_code == 200
        assert theirs.json()["id"] != made.json()["id"]

    play(scene)


def test_pages_go_through_all_policies(play: Any) -> None:
    async def scene(api: Api) -> None:
        made = [
            (await api.call("POST", PATH, {"name": f"p{n}"}))["id"] for n in range(5)
        ]
        seen: list[str] = []
        query = f"{PATH}?limit=2"
        while True:
            page = await api.call("GET", query)
            seen += [policy["id"] for policy in page["network_policies"]]
            assert page["total_count"] == 5
            if not page["has_more"]:
                break
            # The place in the list stays, also when the policy goes.
            query = f"{PATH}?limit=2&starting_after={seen[-1]}"
        assert seen == made[::-1]
        page = await api.call("GET", f"{PATH}?include_total_count=false")
        assert page["total_count"] is None
        page = await api.call("GET", f"{PATH}?name=p3")
        assert [policy["name"] for policy in page["network_policies"]] == ["p3"]

    play(scene)


def test_the_rollout_is_told(play: Any) -> None:
    async def scene(api: Api) -> None:
        made = await api.call("POST", PATH, {"name": "p"})
        account = (await api.call("GET", "/v1/accounts/me"))["id"]
        async with api.store.begin() as session:
            await attach(session, account, BOX, made["id"])
            await set_running(session, BOX, running=True)
        await api.call("POST", f"{PATH}/{made['id']}", {"allow_all": True})
        rollout = f"/v1/stockade/network_policies/{made['id']}/rollout"
        told = await api.call("GET", rollout)
        assert told["generation"] == 2
        assert told["devboxes"] == [
            {
                "devbox_id": BOX,
                "running": True,
                "generation": 2,
                "at_ms": 2_000,
                "flows_cut": 3,
                "error": None,
            }
        ]
        body = await api.refused(400, "POST", f"{PATH}/{made['id']}/delete")
        assert body["in_use_by"] == [BOX]
        assert BOX in body["message"]

    play(scene)
