"""Streams, connections and DNS answers: the gateway against its peers."""

from __future__ import annotations

import contextlib
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.contenders import (
    ECHO_PORT,
    NAME,
    RANGE,
    SERVER,
    STREAM_PORT,
    Way,
    dnsmasq,
    gateway,
    haproxy,
    kernel,
)
from bench.servers import servers
from bench.table import Figure, median
from tests.lab import Lab

ROUNDS = 5
STREAM_SECONDS = 2
CONNECTS = 300
DNS_SECONDS = 3

_CONNECT = """
import socket, sys, time
host, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
times = []
for _ in range(count):
    begin = time.perf_counter()
    with socket.create_connection((host, port)) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.send(b"\\x01")
        sock.recv(1)
    times.append(time.perf_counter() - begin)
times.sort()
print(times[len(times) // 2] * 1000)
"""


def run() -> Iterator[Figure]:
    """All network benchmarks, one after the other, contenders in turn."""
    with Lab() as lab, servers(lab), contextlib.ExitStack() as stack:
        ways = [
            stack.enter_context(gateway(lab, "all")),
            stack.enter_context(gateway(lab, NAME)),
            stack.enter_context(gateway(lab, RANGE)),
            stack.enter_context(kernel(lab)),
            stack.enter_context(haproxy(lab)),
        ]
        by_address, by_name, by_range, peer_kernel, _ = ways
        gateways = [by_address, by_name, by_range]
        for direction, verb in (("download", "D"), ("upload", "U")):
            rates = _in_turn(ways, lambda way, v=verb: _stream(way, v))  # type: ignore[misc]
            yield from _streams(direction, rates, gateways)
        delays = _in_turn(ways, _connect)
        base = median(delays[peer_kernel.name])
        for way in ways:
            value = median(delays[way.name])
            ours = way in gateways
            yield Figure(
                "connect + first byte", way.name, value, "ms",
                "ms more than kernel", value - base if way is not peer_kernel else None,
                "≤ 0.5 ms" if ours else "", tuple(delays[way.name]),
            )  # fmt: skip
        resolvers = [by_name, stack.enter_context(dnsmasq(SERVER))]
        yield from _dns(resolvers)


def _in_turn(
    ways: list[Way], measure: Callable[[Way], float]
) -> dict[str, list[float]]:
    """Measure every way once a round, so that a noisy moment meets all of them."""
    samples: dict[str, list[float]] = {way.name: [] for way in ways}
    for _ in range(ROUNDS):
        for way in ways:
            samples[way.name].append(measure(way))
    return samples


def _stream(way: Way, verb: str) -> float:
    """Gbit/s of one TCP stream."""
    port = str(STREAM_PORT + way.port_offset)
    argv = [sys.executable, "-m", "bench.stream", verb, way.server, port]
    return float(way.run([*argv, str(STREAM_SECONDS)]))


def _streams(
    direction: str, rates: dict[str, list[float]], gateways: list[Way]
) -> Iterator[Figure]:
    middle = {name: median(samples) for name, samples in rates.items()}
    for name, samples in rates.items():
        ours = name in [way.name for way in gateways]
        bar = "≥ 0.9" if ours and direction == "download" else ""
        yield Figure(
            f"one stream, {direction}", name, middle[name], "Gbit/s", "of kernel",
            middle[name] / middle["kernel"], bar, tuple(samples),
        )  # fmt: skip
    for way in gateways:
        yield Figure(
            f"one stream, {direction}", way.name, middle[way.name], "Gbit/s",
            "of HAProxy", middle[way.name] / middle["HAProxy"],
            "≥ 1.5" if direction == "download" else "",
        )  # fmt: skip


def _connect(way: Way) -> float:
    """Milliseconds from connect to the first octet of the answer, at the median."""
    port = str(ECHO_PORT + way.port_offset)
    return float(
        way.run([sys.executable, "-c", _CONNECT, way.server, port, str(CONNECTS)])
    )


def _dns(ways: list[Way]) -> Iterator[Figure]:
    """Answers a second to a question whose answer is cached."""
    with tempfile.TemporaryDirectory() as directory:
        questions = Path(directory, "questions")
        questions.write_text(f"{NAME} A\n")

        def measure(way: Way) -> float:
            text = way.run(
                ["dnsperf", "-s", way.resolver, "-d", str(questions),
                 "-l", str(DNS_SECONDS), "-c", "1", "-T", "1", "-q", "200"]
            )  # fmt: skip
            found = re.search(r"Queries per second:\s+([\d.]+)", text)
            if found is None:
                raise RuntimeError(f"dnsperf printed no rate: {text}")
            return float(found[1])

        rates = _in_turn(ways, measure)
    peer = median(rates["dnsmasq"])
    for name, samples in rates.items():
        value = median(samples)
        bar = "" if name == "dnsmasq" else "≥ 0.8"
        yield Figure(
            "cached DNS", name, value, "answers/s", "of dnsmasq", value / peer, bar,
            tuple(samples),
        )  # fmt: skip
