"""How soon a policy is in force, what a gateway weighs, and what size costs."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from ipaddress import IPv4Address

from bench.far import ADDRESSES, ECHO_PORT, NAME
from bench.gateways import BY_NAME, Held, by_many_names, gateway
from bench.names import answers
from bench.rates import requests
from bench.suite import Scale, figures
from bench.table import Figure, compared, median
from bench.ways import Way, in_turn
from stockade.names import Hostname, HostPattern
from stockade.policy.decide import CompiledPolicy, Flow, decide
from stockade.policy.guardrails import Guardrails
from stockade.policy.model import NetworkPolicy
from tests.lab import Lab

MANY_SLOTS = 1_000
#: More names than a policy may have: the limit is the model's, not the decision's.
VERY_MANY_NAMES = 10_000
_UPDATES = 20
OPEN_PER_DEVBOX = 2_000


def update(lab: Lab, scale: Scale) -> Iterator[Figure]:
    """From the push to the last acknowledgement, for 1, 100 and 1,000 slots."""
    with gateway(lab, BY_NAME, idle=MANY_SLOTS) as held:
        for slots in (1, 100, MANY_SLOTS):
            times = sorted(_push(held, slots, turn) for turn in range(_UPDATES))
            slow = times[int(len(times) * 0.99)]
            title = f"update in force, {slots:,} slot{'s' * (slots > 1)}"
            yield Figure(title, "gateway, median", median(times), "ms")
            yield Figure(
                title, "gateway, p99", slow, "ms", "ms", slow,
                "≤ 250" if slots == MANY_SLOTS else "", tuple(times),
            )  # fmt: skip


def _push(held: Held, slots: int, turn: int) -> float:
    """Push one of two policies, in turn, so that each push changes something."""
    names = [NAME] if turn % 2 else [NAME, "other.example"]
    policy = {"name": "pushed", "allowed_hostnames": names}
    return float(held.call("update", slots=slots, policy=policy)["ms"])


def memory(lab: Lab, scale: Scale) -> Iterator[Figure]:
    """The gateway's memory: idle, with many slots, with many open connections."""
    with gateway(lab, BY_NAME) as held:
        yield _weight("gateway, one slot", held)
    with gateway(lab, BY_NAME, idle=MANY_SLOTS) as held:
        yield _weight(f"gateway, {MANY_SLOTS:,} slots", held)
    policies = [BY_NAME] * 5  # A devbox has a limit of its own.
    # And a process has one: two descriptors a connection are more than one may have here.
    with gateway(lab, *policies, lanes=8, workers=2) as held, ExitStack() as stack:
        for way in held.ways:
            stack.enter_context(_held_open(way))
        yield _weight("gateway (2 workers), 10,000 open connections", held)


def _weight(contender: str, held: Held) -> Figure:
    return Figure("memory", contender, held.call("memory")["mib"], "MiB")


@contextlib.contextmanager
def _held_open(way: Way) -> Iterator[None]:
    """Many open connections of one devbox, as long as the block runs."""
    where = ",".join(way.addresses)
    argv = [sys.executable, "-m", "bench.near", "hold", where, str(ECHO_PORT)]
    process = subprocess.Popen(
        way.command([*argv, str(OPEN_PER_DEVBOX)]),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    told = json.loads(process.stdout.readline() or "{}")
    if told.get("open") != OPEN_PER_DEVBOX:
        raise RuntimeError(f"only {told.get('open')} connections could be opened")
    try:
        yield
    finally:
        process.communicate("", timeout=30)


def size(lab: Lab, scale: Scale) -> Iterator[Figure]:
    """The same gateway with one slot and ten names, and with many of both.

    A policy may have a thousand names, so the many are those of ten policies.
    """
    few = {**by_many_names(10), "name": "10 names"}
    with ExitStack() as stack:
        small = stack.enter_context(
            gateway(lab, few, name="gateway (1 slot, 10 names)")
        )
        large = stack.enter_context(
            gateway(
                lab,
                by_many_names(),
                idle=MANY_SLOTS - 1,
                others=[by_many_names(kind=f"host-{n}-") for n in range(10)],
                name=f"gateway ({MANY_SLOTS:,} slots, 10,000 names)",
            )
        )
        ways = [small.way, large.way]
        for title, key, unit, measure in (
            ("connect + first byte", "median", "ms",
             lambda way: way.near("connect", ECHO_PORT, scale.count)),
            ("RTT on an open connection", "median", "ms",
             lambda way: way.near("rtt", ECHO_PORT, scale.count * 10)),
            ("new connections", "rate", "a second",
             lambda way: way.near("connections", ECHO_PORT, scale.seconds)),
            ("HTTP keep-alive", "rate", "requests/s",
             lambda way: requests(way, 1, scale.seconds)),
            ("cached DNS", "rate", "answers/s",
             lambda way: answers(way, [NAME], scale.seconds)),
        ):  # fmt: skip
            made = figures(
                f"size: {title}", in_turn(ways, scale.rounds, measure), key, unit
            )
            base, other = made.values()
            yield base
            # A rate may be less, a time more, by a tenth.
            bar = "≤ 1.1" if unit == "ms" else f"≥ {1 / 1.1:.2f}"
            yield compared(other, base.value, "of the small one", bar=bar)
    yield from _decisions()


def _decisions() -> Iterator[Figure]:
    few, many = _decision_time(10), _decision_time(VERY_MANY_NAMES)
    title = "size: one decision"
    yield Figure(title, "10 names", few, "µs")
    figure = Figure(title, f"{VERY_MANY_NAMES:,} names", many, "µs")
    yield compared(figure, few, "of the small one", bar="≤ 1.1")


def _decision_time(count: int) -> float:
    """Microseconds for a decision about a name far down a list of so many."""
    names = [f"host{number}.example" for number in range(count - 1)]
    made = NetworkPolicy.from_mapping({"name": "p", "allowed_hostnames": names[:1]})
    patterns = tuple(map(HostPattern.parse, [*names, "*.wild.example"]))
    policy = CompiledPolicy(replace(made, allowed_hostnames=patterns))
    address = IPv4Address(ADDRESSES[0])
    flows = [
        Flow(443, address=address, name=Hostname.parse(text))
        for text in (names[-1], "a.b.wild.example", "denied.example")
    ]
    guardrails = Guardrails()
    best = float("inf")
    for _ in range(7):
        begin = time.perf_counter()
        for _ in range(3_000):
            for flow in flows:
                decide(policy, guardrails, flow)
        best = min(best, (time.perf_counter() - begin) / 9_000)
    return best * 1e6
