"""Network policies: what is refused, what a change reaches, what keeps one in use."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from stockade.control.accounts import Accounts
from stockade.control.attachments import attach, current_push, detach, set_running
from stockade.control.policies import Policies, PolicyRules
from stockade.control.rollouts import Rollouts
from stockade.control.store.base import Store
from stockade.control.store.migrating import migrate
from stockade.control.store.pages import PageQuery
from stockade.errors import (
    Conflict,
    EnforcementError,
    InvalidRequest,
    NotFound,
    Unavailable,
)
from stockade.hosting import PolicyInForce
from stockade.spec import DevboxId
from tests.unit.control.fake_policy_host import FakePolicyHost

BOX = DevboxId("dbx_" + "0" * 21)


@dataclass
class World:
    """The service with what is around it."""

    policies: Policies
    rollouts: Rollouts
    store: Store
    host: FakePolicyHost
    account: str
    other: str

    async def start_box(self, policy_id: str, box: DevboxId = BOX) -> None:
        """Put a running devbox under a policy."""
        async with self.store.begin() as session:
            await attach(session, self.account, box, policy_id)
            await set_running(session, box, running=True)


@asynccontextmanager
async def open_world(url: str, rules: PolicyRules | None) -> AsyncIterator[World]:
    store = Store(url)
    clock = itertools.count(1_000_000).__next__
    await migrate(store)
    accounts = Accounts(store, clock, os.urandom)
    await accounts.start(None)
    other, _ = await accounts.create_account("other")
    first = (await accounts.accounts())[0]
    host = FakePolicyHost()
    async with Rollouts(store, host) as rollouts:
        policies = Policies(store, rollouts, clock, os.urandom, rules)
        yield World(policies, rollouts, store, host, first.id, other.id)
    await store.close()


Play = Callable[[Callable[[World], Awaitable[None]]], None]


@pytest.fixture
def play(database_url: str) -> Any:
    def run(
        scene: Callable[[World], Awaitable[None]], rules: PolicyRules | None = None
    ) -> None:
        async def main() -> None:
            async with open_world(database_url, rules) as world:
                await scene(world)

        asyncio.run(main())

    return run


def test_every_bad_entry_is_named(play: Play) -> None:
    async def scene(world: World) -> None:
        raw = {
            "name": "",
            "allowed_hostnames": ["github.com", "*", "https://a.test/"],
            "allowed_cidrs": [{"cidr": "10.0.0.1/8"}, {"cidr": "10.0.0.0/8"}],
            "allow_everything": True,
        }
        with pytest.raises(InvalidRequest) as caught:
            await world.policies.create(world.account, raw)
        message = str(caught.value)
        for part in ("name:", "allow_everything", "hostnames[1]", "hostnames[2]"):
            assert part in message
        assert "allowed_cidrs[0].cidr" in message
        assert "hostnames[0]" not in message
        assert "allowed_cidrs[1]" not in message

    play(scene)


def test_a_name_is_taken_in_its_account_only(play: Play) -> None:
    async def scene(world: World) -> None:
        first = await world.policies.create(world.account, {"name": "a"})
        with pytest.raises(Conflict) as caught:
            await world.policies.create(world.account, {"name": "a"})
        assert caught.value.details == {"id": first}
        await world.policies.create(world.other, {"name": "a"})
        second = await world.policies.create(world.account, {"name": "b"})
        with pytest.raises(Conflict):
            await world.policies.update(world.account, second, {"name": "a"})
        await world.policies.update(world.account, second, {"name": "b"})

    play(scene)


def test_names_may_repeat_where_the_operator_says_so(play: Any) -> None:
    async def scene(world: World) -> None:
        for _ in range(2):
            await world.policies.create(world.account, {"name": "a"})

    play(scene, PolicyRules(unique_names=False))


def test_there_is_a_limit_and_it_is_named(play: Any) -> None:
    async def scene(world: World) -> None:
        kept = await world.policies.create(world.account, {"name": "0"})
        await world.policies.create(world.account, {"name": "1"})
        with pytest.raises(InvalidRequest) as caught:
            await world.policies.create(world.account, {"name": "2"})
        assert caught.value.code == "network_policy_limit"
        assert caught.value.details == {"limit": 2}
        await world.policies.create(world.other, {"name": "2"})
        await world.policies.delete(world.account, kept)
        await world.policies.create(world.account, {"name": "2"})

    play(scene, PolicyRules(limit=2))


def test_an_update_keeps_replaces_and_clears(play: Play) -> None:
    async def scene(world: World) -> None:
        policies, account = world.policies, world.account
        raw = {"name": "a", "description": "d", "allowed_hostnames": ["a.test"]}
        made = await policies.create(account, raw)
        before = await policies.get(account, made)
        await policies.update(account, made, {"name": None, "allow_all": True})
        found = await policies.get(account, made)
        assert found.policy.name == "a"
        assert found.policy.allow_devbox_to_devbox
        assert [str(h) for h in found.policy.allowed_hostnames] == ["a.test"]
        assert found.generation == 2
        assert found.update_time_ms > before.update_time_ms
        changes = {"allow_all": False, "allowed_hostnames": []}
        found = await policies.update(account, made, changes)
        assert found.policy.allowed_hostnames == ()
        assert not found.policy.allow_all
        assert found.policy.allow_devbox_to_devbox
        assert found.policy.description == "d"

    play(scene)


def test_a_refused_update_changes_nothing(play: Play) -> None:
    async def scene(world: World) -> None:
        made = await world.policies.create(world.account, {"name": "a"})
        await world.start_box(made)
        for raw in ({"allowed_hostnames": ["*"]}, {"name": ""}, {"alow_all": True}):
            with pytest.raises(InvalidRequest):
                await world.policies.update(world.account, made, raw)
        assert (await world.policies.get(world.account, made)).generation == 1
        assert world.host.pushes == []

    play(scene)


def test_other_accounts_see_nothing(play: Play) -> None:
    async def scene(world: World) -> None:
        made = await world.policies.create(world.account, {"name": "a"})
        for call in (
            world.policies.get(world.other, made),
            world.policies.update(world.other, made, {"name": "b"}),
            world.policies.delete(world.other, made),
            world.policies.rollout(world.other, made),
        ):
            with pytest.raises(NotFound):
                await call
        page = await world.policies.list(world.other, PageQuery())
        assert page.items == ()
        async with world.store.begin() as session:
            with pytest.raises(InvalidRequest, match="no network policy"):
                await attach(session, world.other, BOX, made)
        assert (await world.policies.get(world.account, made)).generation == 1

    play(scene)


def test_an_update_is_in_force_in_all_devboxes(play: Play) -> None:
    async def scene(world: World) -> None:
        made = await world.policies.create(world.account, {"name": "a"})
        boxes = [DevboxId(f"dbx_{number:021}") for number in range(7)]
        for box in boxes:
            await world.start_box(made, box)
        await world.policies.update(world.account, made, {"allow_all": True})
        rollout = await world.policies.rollout(world.account, made)
        assert [found.devbox for found in rollout.devboxes] == boxes
        assert {found.generation for found in rollout.devboxes} == {2}
        assert {found.cut for found in rollout.devboxes} == {3}

    play(scene)


def test_an_update_is_in_force_when_it_returns(play: Play) -> None:
    async def scene(world: World) -> None:
        made = await world.policies.create(world.account, {"name": "a"})
        await world.start_box(made)
        stopped = DevboxId("dbx_" + "1" * 21)
        async with world.store.begin() as session:
            await attach(session, world.account, stopped, made)
        await world.policies.update(world.account, made, {"allow_all": True})
        assert world.host.in_force[BOX].generation == 2
        assert world.host.in_force[BOX].policy.allow_all
        assert stopped not in world.host.in_force
        rollout = await world.policies.rollout(world.account, made)
        told = [(b.devbox, b.generation, b.cut, b.at_ms) for b in rollout.devboxes]
        assert told == [(BOX, 2, 3, 2_000), (stopped, None, 0, None)]

    play(scene)


def test_what_fails_is_on_record_and_tried_again(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stockade.control.rollouts._RETRY_SECONDS", 0.01)

    async def scene(world: World) -> None:
        made = await world.policies.create(world.account, {"name": "a"})
        await world.start_box(made)
        world.host.failing[BOX] = Unavailable("the gateway is away")
        await world.policies.update(world.account, made, {"allow_all": True})
        rollout = await world.policies.rollout(world.account, made)
        assert rollout.devboxes[0].error == "the gateway is away"
        assert rollout.devboxes[0].generation is None
        world.host.failing.clear()
        for _ in range(1000):
            await asyncio.sleep(0.01)
            box = (await world.policies.rollout(world.account, made)).devboxes[0]
            if box.error is None:
                break
        assert (box.error, box.generation) == (None, 2)
        assert world.host.in_force[BOX].generation == 2

    play(scene)


def test_a_change_while_a_devbox_starts_reaches_it(play: Play) -> None:
    async def scene(world: World) -> None:
        made = await world.policies.create(world.account, {"name": "a"})
        await world.start_box(made)
        world.host.failing[BOX] = NotFound("it does not run as yet")
        await world.policies.update(world.account, made, {"allow_all": True})
        world.host.failing.clear()
        await world.rollouts.started(PolicyInForce(BOX, made, 1, "", 0, 5))
        assert world.host.in_force[BOX].generation == 2

    play(scene)


def test_nothing_runs_under_an_older_generation(play: Play) -> None:
    async def scene(world: World) -> None:
        made = await world.policies.create(world.account, {"name": "a"})
        await world.start_box(made)
        world.host.failing[BOX] = Unavailable("the gateway is away")
        await world.policies.update(world.account, made, {"allow_all": True})
        with pytest.raises(EnforcementError, match="the gateway is away"):
            await world.rollouts.started(PolicyInForce(BOX, made, 1, "", 0, 5))

    play(scene)


def test_a_policy_in_use_stays_and_says_where(play: Play) -> None:
    async def scene(world: World) -> None:
        made = await world.policies.create(world.account, {"name": "a"})
        await world.start_box(made)
        with pytest.raises(InvalidRequest, match=BOX) as caught:
            await world.policies.delete(world.account, made)
        assert caught.value.details == {"in_use_by": [BOX]}
        async with world.store.begin() as session:
            assert (await current_push(session, BOX, made)).policy_id == made
            assert (await current_push(session, BOX, None)).policy.allow_all
            await detach(session, BOX)
            # One that was to be under a policy never starts without.
            with pytest.raises(EnforcementError, match=made):
                await current_push(session, BOX, made)
        await world.policies.delete(world.account, made)
        with pytest.raises(NotFound):
            await world.policies.get(world.account, made)

    play(scene)


def test_lists_are_newest_first_filtered_and_paged(play: Play) -> None:
    async def scene(world: World) -> None:
        names = ["alpha", "beta%", "beta_x", "gamma"]
        ids = [await world.policies.create(world.account, {"name": n}) for n in names]

        async def names_of(page: PageQuery, **filters: str) -> list[str]:
            found = await world.policies.list(world.account, page, **filters)
            return [item.policy.name for item in found.items]

        assert await names_of(PageQuery()) == names[::-1]
        first = await world.policies.list(world.account, PageQuery(limit=2))
        assert (first.has_more, first.total) == (True, 4)
        assert await names_of(PageQuery(after=first.items[-1].id)) == names[1::-1]
        assert await names_of(PageQuery(), name="eta%") == ["beta%"]
        assert await names_of(PageQuery(), search=ids[0][4:]) == ["alpha"]
        assert await names_of(PageQuery(), policy_id=ids[3]) == ["gamma"]
        with pytest.raises(InvalidRequest):
            await names_of(PageQuery(after="nonsense"))

    play(scene)
