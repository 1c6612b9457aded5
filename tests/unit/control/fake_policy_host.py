"""The part of a host that policies need: it says what the gateway would say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stockade.errors import StockadeError
from stockade.hosting import PolicyInForce
from stockade.spec import DevboxId, PolicyPush


class FakePolicyHost:
    """Keeps what was pushed; fails for the devboxes in *failing*."""

    def __init__(self) -> None:
        self.in_force: dict[DevboxId, PolicyPush] = {}
        self.failing: dict[DevboxId, StockadeError] = {}
        self.pushes: list[tuple[tuple[DevboxId, ...], PolicyPush]] = []

    async def update_policy(
        self, devboxes: Sequence[DevboxId], push: PolicyPush
    ) -> Mapping[DevboxId, PolicyInForce | StockadeError]:
        """Put a generation in force, everywhere but where it fails."""
        self.pushes.append((tuple(devboxes), push))
        return {devbox: self._one(devbox, push) for devbox in devboxes}

    def _one(self, devbox: DevboxId, push: PolicyPush) -> PolicyInForce | StockadeError:
        if devbox in self.failing:
            return self.failing[devbox]
        self.in_force[devbox] = push
        return PolicyInForce(
            devbox=devbox,
            policy_id=push.policy_id,
            generation=push.generation,
            digest=push.digest,
            cut=3,
            at_ms=1_000 * push.generation,
        )
