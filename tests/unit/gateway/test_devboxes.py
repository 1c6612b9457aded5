"""Attached devboxes: generations, quarantine, cut flows, identity by source address."""

from __future__ import annotations

import pytest

from stockade.errors import Conflict, NotFound
from stockade.gateway.devboxes import AttachedDevbox, Memo, Registry
from stockade.names import Hostname
from stockade.policy.decide import Flow, Reason, deny
from stockade.spec import PolicyPush
from tests.unit.gateway.fakes import devbox, policy, push

A = Flow(443, name=Hostname("a.test"))
B = Flow(443, name=Hostname("b.test"))


class Running:
    """A flow that goes on while its devbox allows it."""

    def __init__(self, box: AttachedDevbox, flow: Flow) -> None:
        self.box, self.flow = box, flow
        self.aborted = 0
        box.flows.add(self)

    def recheck(self) -> bool:
        if self.box.decide(self.flow).allowed:
            return False
        self.box.flows.discard(self)
        return True

    def abort(self) -> None:
        self.aborted += 1


def test_before_a_policy_everything_is_denied() -> None:
    box = devbox(None)
    assert box.push is None
    assert box.decide(A) == deny(Reason.POLICY_UNAVAILABLE)
    assert (box.subject.policy_id, box.subject.generation) == (None, None)


def test_an_acknowledgement_says_what_is_in_force() -> None:
    box = devbox(None)
    told = push("a.test", 4)
    ack = box.apply(told)
    assert (ack.policy_id, ack.generation, ack.digest, ack.cut) == (
        "npol_1",
        4,
        told.digest,
        0,
    )
    assert box.push == told
    assert box.decide(A).allowed
    assert (box.subject.policy_id, box.subject.generation) == ("npol_1", 4)


def test_a_newer_generation_cuts_what_it_does_not_allow_and_nothing_else() -> None:
    box = devbox("a.test b.test")
    kept, cut = Running(box, A), Running(box, B)
    assert box.apply(push("a.test", 2)).cut == 1
    assert box.flows == {kept}
    assert cut not in box.flows


def test_the_same_generation_again_changes_nothing() -> None:
    box = devbox("a.test")
    kept = Running(box, A)
    assert box.apply(push("a.test", 1)).cut == 0
    assert box.flows == {kept}


@pytest.mark.parametrize(
    ("later", "said"),
    [
        pytest.param(push("a.test b.test", 4), "older", id="a stale generation"),
        pytest.param(push("a.test", 4), "older", id="a stale one with this content"),
        pytest.param(push("b.test", 5), "another content", id="other content"),
    ],
)
def test_a_conflicting_push_leaves_all_as_it_is(later: PolicyPush, said: str) -> None:
    box = devbox(None)
    box.apply(push("a.test", 5))
    kept = Running(box, A)
    with pytest.raises(Conflict, match=said):
        box.apply(later)
    assert box.push == push("a.test", 5)
    assert box.decide(A).allowed
    assert not box.decide(B).allowed
    assert box.flows == {kept}


def test_another_policy_may_have_any_generation() -> None:
    box = devbox(None)
    box.apply(push("a.test", 9))
    box.apply(push("b.test", 1, "npol_2"))
    assert box.decide(B).allowed
    assert not box.decide(A).allowed


def test_quarantine_denies_everything_and_cuts_everything() -> None:
    box = devbox(policy(allow_all=True))
    Running(box, A)
    Running(box, B)
    assert box.quarantine() == 2
    assert box.decide(A) == deny(Reason.POLICY_UNAVAILABLE)
    assert not box.policy.allow_all
    assert box.subject.policy_id is None
    assert box.apply(push("a.test", 1)).cut == 0
    assert box.decide(A).allowed


def test_a_change_of_policy_ends_ready_answers() -> None:
    box = devbox("a.test")
    box.memo[b"question"] = Memo(b"answer", 1e9, lambda: None)
    box.apply(push("b.test", 2))
    assert box.memo == {}
    box.memo[b"question"] = Memo(b"answer", 1e9, lambda: None)
    box.quarantine()
    assert box.memo == {}


def test_devboxes_are_found_by_name_and_address() -> None:
    registry = Registry()
    one = devbox(name="dbx_1", address="100.127.0.3")
    two = devbox(name="dbx_2", address="100.127.0.5")
    registry.attach(one)
    registry.attach(two)
    assert registry.named("dbx_2") is two
    assert registry.at("100.127.0.3") is one
    assert registry.at("100.127.0.4") is None
    assert list(registry) == [one, two]


@pytest.mark.parametrize(
    ("name", "address"), [("dbx_1", "100.127.0.9"), ("dbx_9", "100.127.0.3")]
)
def test_a_name_or_address_is_taken_once(name: str, address: str) -> None:
    registry = Registry()
    first = devbox()
    registry.attach(first)
    with pytest.raises(Conflict, match="attached already"):
        registry.attach(devbox(name=name, address=address))
    assert list(registry) == [first]
    assert registry.at("100.127.0.3") is first


def test_detaching_ends_the_flows_and_frees_the_address() -> None:
    registry = Registry()
    box = devbox()
    registry.attach(box)
    flow = Running(box, A)
    assert registry.detach("dbx_1") is box
    assert flow.aborted == 1
    assert registry.at("100.127.0.3") is None
    assert registry.detach("dbx_1") is None
    with pytest.raises(NotFound, match="dbx_1"):
        registry.named("dbx_1")
    registry.attach(devbox())
