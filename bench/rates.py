"""How many a second: connections, HTTP requests, datagrams."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from bench import peers
from bench.far import ECHO_PORT, HTTP_PORT, NAME, UDP_PORT
from bench.suite import Scale, again, beside, figures, join, ours, with_kernel
from bench.table import Figure
from bench.ways import Way, in_turn, kernel
from tests.lab import Lab


def connections(lab: Lab, scale: Scale) -> Iterator[Figure]:
    """New connections a second, 32 at a time, over 32 server addresses."""
    with ExitStack() as stack:
        ways = with_kernel(lab, stack)
        cores = os.cpu_count() or 1
        for number, threads in ((2, 1), (7, cores)):
            hap, missing = join(
                stack,
                f"HAProxy ({threads})",
                lambda n=number, t=threads: peers.haproxy(lab, t, n),  # type: ignore[misc]
            )
            ways += hap
            yield from missing
        samples = in_turn(
            ways,
            scale.rounds,
            lambda way: way.near("connections", ECHO_PORT, scale.seconds),
        )
        made = figures(
            "new connections", samples, "rate", "a second",
            work=lambda s: s["rate"] * scale.seconds,
        )  # fmt: skip
        yield from beside(made, "kernel")
        yield from again(made, "HAProxy (1 thread)", "≥ 1.0")


def http(lab: Lab, scale: Scale) -> Iterator[Figure]:
    """Requests a second on kept-alive connections, each request checked."""
    with ExitStack() as stack:
        ways = with_kernel(lab, stack)
        for name, peer in (
            ("HAProxy", lambda: peers.haproxy(lab, 1)),
            ("Squid", lambda: peers.squid(lab)),
            ("mitmproxy", lambda: peers.mitmproxy(lab)),
            ("sandbox-runtime", lambda: peers.sandbox_runtime(lab)),
        ):
            found, missing = join(stack, name, peer)
            ways += found
            yield from missing
        for count in (1, 16):
            samples = in_turn(
                ways,
                scale.rounds if count == 1 else 2,
                lambda way, n=count: requests(way, n, scale.seconds),  # type: ignore[misc]
            )
            title = f"HTTP keep-alive, {count} connection{'s' * (count > 1)}"
            made = figures(
                title, samples, "rate", "requests/s",
                work=lambda s: s["rate"] * scale.seconds,
            )  # fmt: skip
            yield from beside(made, "kernel")
            checked = {k: v for k, v in made.items() if k in _CHECKED}
            yield from again(checked, "Squid", "≥ 1.0")
            yield from again(checked, "mitmproxy", "≥ 5.0")


#: Contenders that look at each request; the gateway looks at none under `allow_all`.
_CHECKED = ("gateway (by name)", "Squid", "mitmproxy")


def requests(way: Way, count: int, seconds: float) -> dict[str, float]:
    """Requests a second of *count* connections, by `wrk`."""
    url = f"http://{way.addresses[0]}:{HTTP_PORT + way.port_offset}/x"
    argv = ["wrk", "-t1", f"-c{count}", f"-d{seconds:g}s", "-H", f"Host: {NAME}"]
    for header in way.headers:
        argv += ["-H", header]
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        if way.proxy:  # A proxy is asked for whole URLs.
            script = Path(directory, "path.lua")
            script.write_text(f'wrk.path = "http://{NAME}/x"\n')
            argv += ["-s", str(script)]
        said = way.run([*argv, url])
    rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
    if rate is None or "Non-2xx" in said:
        raise RuntimeError(f"{way.name}: wrk said {said[-300:]}")
    return {"rate": float(rate[1])}


def datagrams(lab: Lab, scale: Scale) -> Iterator[Figure]:
    """Datagrams of 1,200 octets there and back a second, 32 on their way at a time."""
    with ExitStack() as stack:
        ways = [*ours(lab, stack), stack.enter_context(kernel(lab))]
        samples = in_turn(
            ways, scale.rounds, lambda w: w.near("datagrams", UDP_PORT, scale.seconds)
        )
        made = figures(
            "UDP there and back", samples, "rate", "datagrams/s",
            work=lambda s: s["rate"] * scale.seconds,
        )  # fmt: skip
        yield from beside(made, "kernel")
        lost = figures("UDP lost", samples, "lost", "of those sent")
        yield from lost.values()
