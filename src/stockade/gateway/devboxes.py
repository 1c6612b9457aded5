"""The devboxes attached to this gateway, and the policy each is under.

Identity is the source address: the ruleset of the gateway namespace lets a packet in
only when interface and source belong together. A devbox whose policy cannot be compiled
is under a policy that denies everything, never under none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from stockade.errors import Conflict, NotFound
from stockade.gateway.events import EventQueue
from stockade.gateway.flowlog import Subject
from stockade.gateway.questions import QuestionLimits
from stockade.gateway.sinkhole import Sinkhole
from stockade.policy.decide import (
    CompiledPolicy,
    Decision,
    Flow,
    Reason,
    decide,
    deny,
)
from stockade.policy.guardrails import Address, Guardrails
from stockade.policy.lookups import LookupTable
from stockade.policy.model import NetworkPolicy
from stockade.spec import PolicyPush

_TURNS = 100


class LiveFlow(Protocol):
    """A flow that goes on, as a change of policy sees it."""

    def recheck(self) -> bool:
        """End the flow if the policy in force no longer allows it; say whether it did."""

    def abort(self) -> None:
        """End the flow at once."""


@dataclass(frozen=True, slots=True)
class Memo:
    """A ready answer to a DNS message that was answered less than a second ago.

    *body* is all of it but the message id; *expires* is a time of the loop's clock;
    *count* puts one more such question on record.
    """

    body: bytes
    expires: float
    count: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """Says that a generation is in force, and how many flows that cut."""

    policy_id: str
    generation: int
    digest: str
    cut: int


class AttachedDevbox:
    """One devbox: its addresses, the policy in force, its lookups and its live flows."""

    def __init__(
        self,
        devbox: str,
        addresses: tuple[Address, ...],
        guardrails: Guardrails,
        questions: QuestionLimits,
        *,
        account: str | None = None,
        execution: str | None = None,
    ) -> None:
        self.devbox = devbox
        self.addresses = addresses
        self.account = account
        self.execution = execution
        self.lookups = LookupTable()
        self.sinkhole = Sinkhole()
        self.flows: set[LiveFlow] = set()
        self.events = EventQueue()
        self._guardrails = guardrails
        self.questions = questions
        self._push: PolicyPush | None = None
        self.policy = CompiledPolicy(NetworkPolicy(name="quarantine"))
        self.subject = Subject(devbox, account, execution)
        # Answers that hold for a moment, by question; a change of policy ends them.
        self.memo: dict[bytes, Memo] = {}

    @property
    def push(self) -> PolicyPush | None:
        """The generation in force; None while the devbox is in quarantine."""
        return self._push

    @property
    def end_of_flow(self) -> str:
        """What the record of a flow says that the policy in force has cut."""
        if self._push is None:
            return "cut: no policy is in force"
        return f"cut by generation {self._push.generation}"

    def decide(self, flow: Flow) -> Decision:
        """Judge *flow* by the policy in force."""
        if self._push is None:
            return deny(Reason.POLICY_UNAVAILABLE)
        return decide(self.policy, self._guardrails, flow)

    def apply(
        self, push: PolicyPush, compiled: CompiledPolicy | None = None
    ) -> Acknowledgement:
        """Put *push* in force, whole, and cut the flows it does not allow.

        *compiled* is its policy, where that goes to many devboxes at once. Pushing what
        is in force again changes nothing. Raises `Conflict` when *push* may not follow
        it.
        """
        if self._push is not None:
            push.check_follows(self._push)
        self.policy = compiled or CompiledPolicy(push.policy)
        self._push = push
        self._changed()
        return Acknowledgement(
            push.policy_id, push.generation, push.digest, self.recheck_flows()
        )

    def quarantine(self) -> int:
        """Deny everything from here on; returns how many flows that cut."""
        self._push = None
        self.policy = CompiledPolicy(NetworkPolicy(name="quarantine"))
        self._changed()
        return self.recheck_flows()

    async def all_flows_ended(self) -> None:
        """Wait for flows that were told to end: some turns of the loop, not more."""
        for _ in range(_TURNS):
            if not self.flows:
                return
            await asyncio.sleep(0)

    def recheck_flows(self) -> int:
        """Cut the live flows that the policy in force does not allow; how many."""
        return sum(flow.recheck() for flow in tuple(self.flows))

    def _changed(self) -> None:
        self.memo.clear()
        push = self._push
        self.subject = Subject(
            self.devbox,
            self.account,
            self.execution,
            push.policy_id if push else None,
            push.generation if push else None,
        )


class Registry:
    """Finds attached devboxes by name and by source address."""

    def __init__(self) -> None:
        self._by_name: dict[str, AttachedDevbox] = {}
        self._by_address: dict[str, AttachedDevbox] = {}
        self._by_packed: dict[bytes, AttachedDevbox] = {}

    def __iter__(self) -> Iterator[AttachedDevbox]:
        """All attached devboxes."""
        return iter(tuple(self._by_name.values()))

    def attach(self, devbox: AttachedDevbox) -> None:
        """Add *devbox*. Raises `Conflict` when its name or an address is taken."""
        taken = [a for a in devbox.addresses if str(a) in self._by_address]
        if devbox.devbox in self._by_name or taken:
            raise Conflict(
                f"{devbox.devbox} or its address {taken} is attached already"
            )
        self._by_name[devbox.devbox] = devbox
        for address in devbox.addresses:
            self._by_address[str(address)] = devbox
            self._by_packed[address.packed] = devbox

    def detach(self, name: str) -> AttachedDevbox | None:
        """Remove a devbox and let its flows end. None when there is none of that name."""
        devbox = self._by_name.pop(name, None)
        if devbox is None:
            return None
        for address in devbox.addresses:
            self._by_address.pop(str(address), None)
            self._by_packed.pop(address.packed, None)
        for flow in tuple(devbox.flows):
            flow.abort()
        return devbox

    def named(self, name: str) -> AttachedDevbox:
        """The devbox of that name. Raises `NotFound`."""
        try:
            return self._by_name[name]
        except KeyError:
            raise NotFound(f"no devbox {name} is attached to this gateway") from None

    def at(self, source: str) -> AttachedDevbox | None:
        """The devbox that sends from the address *source* (as the kernel writes it)."""
        return self._by_address.get(source)

    def at_packed(self, source: bytes) -> AttachedDevbox | None:
        """The devbox that sends from the address *source*, in network order."""
        return self._by_packed.get(source)
