"""What the benchmarks share: contenders in turn, and figures of what they measured."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace

from bench.gateways import ALL, BY_NAME, BY_RANGE, gateway
from bench.table import Figure, compared, median
from bench.ways import Way, kernel
from tests.lab import Lab

Samples = dict[str, list[dict[str, float]]]


@dataclass(frozen=True, slots=True)
class Scale:
    """How long a benchmark takes: *rounds*, and the *seconds* of one sample."""

    rounds: int = 5
    seconds: float = 2.0
    count: int = 300


QUICK = Scale(rounds=2, seconds=1.0, count=150)


def ours(lab: Lab, stack: ExitStack) -> list[Way]:
    """Three gateways: a policy that allows everything, one name, one range."""
    return [
        stack.enter_context(gateway(lab, policy)).way
        for policy in (ALL, BY_NAME, BY_RANGE)
    ]


def with_kernel(lab: Lab, stack: ExitStack) -> list[Way]:
    """Our gateways and, last, the limit."""
    return [*ours(lab, stack), stack.enter_context(kernel(lab))]


def join(
    stack: ExitStack, name: str, peer: Callable[[], AbstractContextManager[Way]]
) -> tuple[list[Way], list[Figure]]:
    """A peer, or a figure that says why there is none."""
    try:
        return [stack.enter_context(peer())], []
    except (RuntimeError, OSError, StopIteration) as error:
        print(f"  {name}: {error}", file=sys.stderr)
        return [], [Figure("", name, 0, "", note=f"not run: {str(error)[:80]}")]


def figures(
    benchmark: str,
    samples: Samples,
    key: str,
    unit: str,
    *,
    work: Callable[[Mapping[str, float]], float] | None = None,
) -> dict[str, Figure]:
    """The median of *key* for each contender; *work* tells the units of one sample."""
    made = {}
    for name, taken in samples.items():
        values = tuple(sample[key] for sample in taken)
        costs = [
            sample["cpu"] / work(sample) * 1e6
            for sample in taken
            if work is not None and sample["cpu"] and work(sample)
        ]
        made[name] = Figure(
            benchmark, name, median(values), unit, samples=values,
            cpu=median(costs) if costs else None,
        )  # fmt: skip
    return made


def beside(
    made: Mapping[str, Figure],
    peer: str,
    *,
    bar: str = "",
    difference: bool = False,
    only: Sequence[str] | None = None,
) -> Iterator[Figure]:
    """All figures beside that of *peer*; the gateway's with the *bar*."""
    if peer not in made:
        yield from made.values()
        return
    against = f"{made[peer].unit} more than {peer}" if difference else f"of {peer}"
    for name, figure in made.items():
        if only is not None and name not in only:
            continue
        if name == peer and difference:
            yield figure
            continue
        wanted = bar if name.startswith("gateway") else ""
        yield compared(
            figure, made[peer].value, against, bar=wanted, difference=difference
        )


def again(made: Mapping[str, Figure], peer: str, bar: str) -> Iterator[Figure]:
    """The gateway's figures once more, beside another *peer*, if that was measured."""
    if peer in made:
        names = [name for name in made if name.startswith("gateway")]
        for figure in beside(made, peer, bar=bar, only=names):
            yield replace(figure, samples=(), cpu=None)
