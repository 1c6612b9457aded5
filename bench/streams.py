"""Throughput: one TCP stream, and sixteen, each way."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack

from bench import peers
from bench.far import STREAM_PORT
from bench.suite import Scale, again, beside, figures, join, with_kernel
from bench.table import Figure
from bench.ways import Way, in_turn
from tests.lab import Lab


def run(lab: Lab, scale: Scale) -> Iterator[Figure]:
    """One stream and sixteen, download and upload."""
    with ExitStack() as stack:
        ways = with_kernel(lab, stack)
        hap, missing = join(stack, "HAProxy", lambda: peers.haproxy(lab, 1))
        ways += hap
        yield from missing
        for streams in (1, 16):
            if streams > 1:
                # HAProxy 2.6 hands out pipes with octets of other streams in them.
                ways = [way for way in ways if way not in hap]
            for direction, verb in (("download", "D"), ("upload", "U")):
                title = f"{streams} stream{'s' * (streams > 1)}, {direction}"
                samples = in_turn(
                    ways,
                    scale.rounds if streams == 1 else 2,
                    lambda way, v=verb, n=streams: _rate(way, v, n, scale.seconds),  # type: ignore[misc]
                )
                made = figures(
                    title, samples, "rate", "Gbit/s", work=lambda s: s["rate"] / 8
                )
                counted = streams == 1 and direction == "download"
                yield from beside(made, "kernel", bar="≥ 0.95" if counted else "")
                if counted and hap:
                    yield from again(made, hap[0].name, "≥ 1.5")


def _rate(way: Way, verb: str, streams: int, seconds: float) -> dict[str, float]:
    """Gbit/s of all streams together."""
    port = str(STREAM_PORT + way.port_offset)
    argv = [sys.executable, "-m", "bench.stream", verb, way.addresses[0], port]
    started = [
        subprocess.Popen(
            way.command([*argv, str(seconds)]), stdout=subprocess.PIPE, text=True
        )
        for _ in range(streams)
    ]
    told = [process.communicate(timeout=60)[0] for process in started]
    if any(process.returncode for process in started):
        raise RuntimeError(f"{way.name}: a stream failed")
    return {"rate": sum(map(float, told))}
