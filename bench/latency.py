"""Delays: until the first octet of a new connection, and on one that is open."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

from bench import peers
from bench.far import ECHO_PORT
from bench.suite import Scale, beside, figures, join, with_kernel
from bench.table import Figure
from bench.ways import in_turn
from tests.lab import Lab


def connect(lab: Lab, scale: Scale) -> Iterator[Figure]:
    """From `connect()` to the first octet of the answer."""
    with ExitStack() as stack:
        ways = with_kernel(lab, stack)
        hap, missing = join(stack, "HAProxy", lambda: peers.haproxy(lab, 1))
        samples = in_turn(
            [*ways, *hap],
            scale.rounds,
            lambda way: way.near("connect", ECHO_PORT, scale.count),
        )
        made = figures(
            "connect + first byte", samples, "median", "ms", work=lambda _: scale.count
        )
        yield from beside(made, "kernel", bar="≤ 0.5", difference=True)
        slow = figures("connect + first byte, p99", samples, "p99", "ms")
        yield from beside(slow, "kernel", difference=True)
        yield from missing


def rtt(lab: Lab, scale: Scale) -> Iterator[Figure]:
    """One octet there and back on an open connection."""
    with ExitStack() as stack:
        ways = with_kernel(lab, stack)
        hap, missing = join(stack, "HAProxy", lambda: peers.haproxy(lab, 1))
        count = scale.count * 10
        samples = in_turn(
            [*ways, *hap], scale.rounds, lambda way: way.near("rtt", ECHO_PORT, count)
        )
        made = figures(
            "RTT on an open connection", samples, "median", "ms", work=lambda _: count
        )
        yield from beside(made, "kernel", bar="≤ 0.05", difference=True)
        slow = figures("RTT on an open connection, p99", samples, "p99", "ms")
        yield from beside(slow, "kernel", difference=True)
        yield from missing
