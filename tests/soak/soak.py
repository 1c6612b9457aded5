"""One soak from beginning to end: still, churn, still again, and the verdict."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from tests.lab import Lab
from tests.soak.agent import Agent, running_agent
from tests.soak.churn import Churn
from tests.soak.growth import MAY_STAY, NOT_COUNTED, Verdict, judge
from tests.soak.samples import Sample, cpu_seconds, descendants, take
from tests.soak.slots import Pool

#: Gateways are killed in the first half; the second half is one life, in which what
#: grows slowly has time to.
_KILLS: Final = (0.1, 0.2, 0.3, 0.4, 0.5)
_REST_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How long, how often, how much."""

    seconds: float
    every: float = 10.0
    slots: int = 20
    users: int = 36
    containers: int = 2
    #: The share of the usual rates.
    scale: float = 1.0
    kills: tuple[float, ...] = _KILLS


@dataclass(frozen=True, slots=True)
class Result:
    """What a soak brought to light."""

    samples: list[Sample]
    verdicts: list[Verdict]
    done: Mapping[str, int]
    problems: Mapping[str, int]
    said: str
    #: The share of a core that agent and gateway used, and that the soak used itself.
    used: tuple[float, float]

    @property
    def failures(self) -> list[str]:
        """What is wrong, a line each."""
        wrong = [f"{v.key} grew by {v.growth:.2f}" for v in self.verdicts if v.grew]
        wrong += [
            f"{v.key} stayed: {v.before:g} before, {v.after:g} after"
            for v in self.verdicts
            if v.stayed
        ]
        wrong += [f"{count} x {what}" for what, count in self.problems.items()]
        if "Traceback" in self.said:
            wrong.append(f"an exception: {self.said[self.said.index('Traceback') :]}")
        return wrong


async def soak(
    lab: Lab, plan: Plan, tell: Callable[[Sample], None] = lambda _: None
) -> Result:
    """Run a soak in *lab*; *tell* is given each sample."""
    async with running_agent(lab) as agent:
        await _warm(agent)
        before = await take(agent)
        churn = Churn(lab, agent, plan.scale)
        started = time.monotonic()
        used = _used(agent)
        churn.start(
            slots=plan.slots,
            users=plan.users,
            containers=plan.containers,
            kills=tuple(share * plan.seconds for share in plan.kills),
        )
        samples: list[Sample] = []
        try:
            while (passed := time.monotonic() - started) < plan.seconds:
                samples.append(Sample(passed, churn.life, await take(agent)))
                tell(samples[-1])
                lab.forget()
                await asyncio.sleep(plan.every)
        finally:
            await churn.stop()
        shares = tuple(
            (now - then) / (time.monotonic() - started)
            for now, then in zip(_used(agent), used, strict=True)
        )
        after = await _at_rest(agent, before)
        verdicts = judge(samples, before, after)
        said = agent.said()
    return Result(
        samples, verdicts, churn.done, churn.problems, said, (shares[0], shares[1])
    )


async def _warm(agent: Agent) -> None:
    """Use everything once: what is imported or opened at first use is not growth."""
    pool = Pool(agent)
    await pool.add()
    await pool.clear()
    await agent.call(
        "start", name="warm", code="pass", policy={"name": "p"}, generation=1
    )
    await agent.call("remove", name="warm")


async def _at_rest(agent: Agent, before: Mapping[str, float]) -> dict[str, float]:
    """The counts once all has come to rest, or as they are after a minute."""
    deadline = time.monotonic() + _REST_SECONDS
    while True:
        now = await take(agent)
        restless = [
            key
            for key, value in now.items()
            if key not in NOT_COUNTED and value > before[key] + MAY_STAY.get(key, 0)
        ]
        if not restless or time.monotonic() > deadline:
            return now
        await asyncio.sleep(1)


def _used(agent: Agent) -> tuple[float, float]:
    """Processor seconds of the agent with all it started, and of the soak with its lab."""
    of_agent = cpu_seconds([agent.pid, *descendants(agent.pid)])
    return of_agent, cpu_seconds([os.getpid(), *descendants(os.getpid())]) - of_agent
