"""DNS answers a second: those at hand, and those that have to be asked for."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from bench import peers
from bench.far import NAME
from bench.gateways import by_many_names, gateway
from bench.suite import Scale, beside, figures, join
from bench.table import Figure
from bench.ways import Way, in_turn
from tests.lab import Lab


def dns(lab: Lab, scale: Scale) -> Iterator[Figure]:
    """Cached answers, and answers of the lab's resolver passed on."""
    with ExitStack() as stack:
        policy = {**by_many_names(10), "name": "by name"}
        ways = [stack.enter_context(gateway(lab, policy)).way]
        for name, peer in (("dnsmasq", peers.dnsmasq), ("unbound", peers.unbound)):
            found, missing = join(stack, name, lambda p=peer: p(lab))  # type: ignore[misc]
            ways += found
            yield from missing
        for title, names, bar in (
            ("cached DNS", [NAME], "≥ 1.0"),
            ("forwarded DNS", [f"n{number}.{NAME}" for number in range(64)], ""),
        ):
            samples = in_turn(
                ways,
                scale.rounds,
                lambda way, n=names: answers(way, n, scale.seconds),  # type: ignore[misc]
            )
            made = figures(
                title, samples, "rate", "answers/s",
                work=lambda s: s["rate"] * scale.seconds,
            )  # fmt: skip
            yield from beside(made, "dnsmasq", bar=bar)


def answers(way: Way, names: Sequence[str], seconds: float) -> dict[str, float]:
    """Answers a second, by `dnsperf`: one client, at most 200 questions on their way."""
    with tempfile.TemporaryDirectory() as directory:
        questions = Path(directory, "questions")
        questions.write_text("".join(f"{name} A\n" for name in names))
        said = way.run(
            ["dnsperf", "-s", way.resolver, "-p", str(way.resolver_port),
             "-d", str(questions),
             "-l", f"{seconds:g}", "-c", "1", "-T", "1", "-q", "200"]
        )  # fmt: skip
    rate = re.search(r"Queries per second:\s+([\d.]+)", said)
    lost = re.search(r"Queries lost:\s+(\d+)", said)
    if rate is None or lost is None:
        raise RuntimeError(f"dnsperf printed no rate: {said}")
    return {"rate": float(rate[1]), "lost": float(lost[1])}
