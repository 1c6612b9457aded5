"""What a quiet devbox notices of a hostile one, on one worker and on two."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack

from bench.far import ADDRESSES, ECHO_PORT
from bench.gateways import BY_RANGE, Held, gateway
from bench.suite import Scale
from bench.table import Figure, compared
from bench.ways import Way, kernel
from tests.lab import Lab

_HOSTILE_SECONDS = 6


def run(lab: Lab, scale: Scale) -> Iterator[Figure]:
    """Connect p99 of a quiet devbox: alone, and while another opens connections.

    The kernel's own p99 beside the same flood tells what the processors are short of.
    """
    for workers in (1, 2):
        with ExitStack() as stack:
            held = stack.enter_context(
                gateway(lab, BY_RANGE, BY_RANGE, lanes=16, workers=workers)
            )
            limit = stack.enter_context(kernel(lab))
            yield from _beside(held, limit, scale, workers)


def _beside(held: Held, limit: Way, scale: Scale, workers: int) -> Iterator[Figure]:
    quiet, hostile = held.ways
    title = f"connect p99 beside a flood, {workers} worker{'s' * (workers > 1)}"
    alone = _p99(quiet, scale)
    yield Figure(title, "quiet devbox, alone", alone, "ms")
    flood = subprocess.Popen(
        hostile.command(
            [sys.executable, "-m", "bench.near", "flood", ",".join(ADDRESSES),
             str(ECHO_PORT), str(_HOSTILE_SECONDS)]
        ),
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        time.sleep(1)
        flooded = Figure(title, "quiet devbox, beside", _p99(quiet, scale), "ms")
        yield compared(flooded, alone, "of alone", bar="≤ 2")
        yield Figure(title, "kernel, beside", _p99(limit, scale), "ms")
    finally:
        flood.terminate()
        flood.wait()


def _p99(way: Way, scale: Scale) -> float:
    return way.near("connect", ECHO_PORT, scale.count * 2)["p99"]
