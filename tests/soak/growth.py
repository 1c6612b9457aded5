"""Whether what was counted grew: a robust line through the samples, and its bounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from tests.soak.samples import Sample

#: The share of a run, and of the life of a gateway, that is not looked at: caches fill.
WARM_UP: Final = 0.1
#: By how much a count may have grown at the end of the run, as the line has it. What
#: goes up and down with the churn has a line that is not quite level.
BOUNDS: Final[Mapping[str, float]] = {
    "gateway rss": 8.0,
    "gateway pss": 8.0,
    "agent rss": 8.0,
    "agent pss": 8.0,
    "gateway sockets": 60,
    "gateway pipes": 40,
    "gateway other descriptors": 24,
    "gateway threads": 2,
    "agent sockets": 4,
    "agent pipes": 8,
    "agent other descriptors": 8,
    "agent threads": 4,
    "rules": 0,
    "elements": 24,
    "interfaces": 6,
    "namespaces": 6,
    "mounts": 8,
    "processes": 6,
    "control groups": 30,
    "files": 6,
    "flows": 40,
    "devboxes": 6,
}
#: What need not be as before when all is over: memory that is kept, pipes that are kept
#: for the next stream (32 of them, two descriptors each, in each gateway process).
MAY_STAY: Final[Mapping[str, float]] = {
    "gateway rss": 24,
    "gateway pss": 24,
    "agent rss": 24,
    "agent pss": 24,
    "gateway pipes": 64,
    "agent threads": 16,
}
NOT_COUNTED: Final = frozenset({"lookups", "records missed"})


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one count."""

    key: str
    first: float
    last: float
    most: float
    growth: float
    bound: float | None
    before: float
    after: float

    @property
    def grew(self) -> bool:
        """Whether it grew by more than it may."""
        return self.bound is not None and self.growth > self.bound

    @property
    def stayed(self) -> bool:
        """Whether something is left when all is over."""
        if self.key in NOT_COUNTED:
            return False
        return self.after > self.before + MAY_STAY.get(self.key, 0)


def slope(points: Sequence[tuple[float, float, int]]) -> float:
    """The median slope of all pairs of (seconds, value, life) within the same life.

    A fit that no outlier moves (Theil and Sen); between lives there is no slope.
    """
    slopes = [
        (later[1] - earlier[1]) / (later[0] - earlier[0])
        for at, earlier in enumerate(points)
        for later in points[at + 1 :]
        if earlier[2] == later[2] and later[0] > earlier[0]
    ]
    return median(slopes) if slopes else 0.0


def settled(samples: Sequence[Sample]) -> list[Sample]:
    """The samples after the warm-up of the run and of each gateway."""
    span = samples[-1].seconds - samples[0].seconds
    start = samples[0].seconds + WARM_UP * span
    born: dict[int, float] = {}
    for sample in samples:
        born.setdefault(sample.life, sample.seconds)
    return [
        sample
        for sample in samples
        if sample.seconds >= start
        and sample.seconds >= born[sample.life] + min(WARM_UP * span, 120.0)
    ]


def judge(
    samples: Sequence[Sample],
    before: Mapping[str, float],
    after: Mapping[str, float],
) -> list[Verdict]:
    """What became of every count. *before* and *after* are without any churn."""
    kept = settled(samples)
    span = kept[-1].seconds - kept[0].seconds
    verdicts = []
    for key in kept[0].values:
        # A gateway that was killed took what it had with it; the agent did not.
        of_gateway = key.startswith(("gateway", "flows", "lookups"))
        points = [(s.seconds, s.values[key], s.life * of_gateway) for s in kept]
        values = [value for _, value, _ in points]
        verdicts.append(
            Verdict(
                key,
                values[0],
                values[-1],
                max(values),
                slope(points) * span,
                BOUNDS.get(key),
                before[key],
                after[key],
            )
        )
    return verdicts


def table(verdicts: Sequence[Verdict]) -> str:
    """All counts, a line each."""
    lines = [
        (
            f"{'':26}{'before':>8}{'first':>9}{'last':>9}{'most':>9}{'growth':>9}"
            f"{'bound':>7}{'after':>8}"
        )
    ]
    for verdict in verdicts:
        bound = "" if verdict.bound is None else f"{verdict.bound:g}"
        said = " GREW" * verdict.grew + " STAYED" * verdict.stayed
        lines.append(
            f"{verdict.key:26}{verdict.before:8.6g}{verdict.first:9.6g}"
            f"{verdict.last:9.6g}{verdict.most:9.6g}{verdict.growth:9.2f}"
            f"{bound:>7}{verdict.after:8.6g}{said}"
        )
    return "\n".join(lines)
