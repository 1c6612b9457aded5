"""The server, driven by the official client, beside podman's REST service.

Both start a container and run a command in it; ours has a policy, a network and a disk of
its own, podman's has no network and one small program.
"""

from __future__ import annotations

import contextlib
import json
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from bench.caller import WITNESS
from bench.start import podman
from bench.suite import Scale
from bench.table import Figure, compared, median
from bench.ways import cpu_seconds
from tests.lab import Lab
from tests.lab.serving import Server

_TIMEOUT = 600.0
_CROWD = 50
_PEER = "podman's REST service"
_PEER_URL = "http://127.0.0.1:18651"
_RATE = re.compile(r"Requests/sec:\s+([\d.]+)")


def run(lab: Lab, scale: Scale) -> Iterator[Figure]:
    """Creates, many at once, updates under load, and reads."""
    rounds = scale.rounds * 4
    with ExitStack() as stack:
        peer, problem = stack.enter_context(_service(lab))
        if problem:
            yield Figure("served", _PEER, 0, "", note=problem)
        cold = stack.enter_context(Server(lab, environ={"STOCKADE_WARM_POOL": "0"}))
        warm = stack.enter_context(Server(lab))
        yield from _creates(lab, {"cold": cold, "warm": warm}, peer, rounds)
        yield from _crowd(lab, cold, peer)
        yield from _updates(lab, cold)
        yield from _reads(lab, cold, peer, scale)


def _creates(
    lab: Lab, servers: Mapping[str, Server], peer: str, rounds: int
) -> Iterator[Figure]:
    title = "create to first answer"
    samples: dict[str, list[float]] = {}
    for _ in range(2):  # In turn, so that a noisy moment meets all of them.
        for name, server in servers.items():
            told = _call(lab, server, "create", rounds // 2)
            samples.setdefault(name, []).extend(told["seconds"])
        if peer:
            told = _call_peer(lab, "create", rounds // 2)
            samples.setdefault(_PEER, []).extend(told["seconds"])
    for name, bar in (("cold", "≤ 250"), ("warm", "≤ 100")):
        yield _ms(title, f"stockade serve, {name}", samples[name], bar)
    if peer:
        yield _ms(title, _PEER, samples[_PEER])


def _crowd(lab: Lab, server: Server, peer: str) -> Iterator[Figure]:
    title = f"{_CROWD} creates at once"
    took = float(_call(lab, server, "crowd", _CROWD)["seconds"])
    ours = Figure(title, "stockade serve", took, "s")
    if not peer:
        yield ours
        return
    other = float(_call_peer(lab, "crowd", _CROWD)["seconds"])
    yield compared(ours, other, f"of {_PEER}")
    yield Figure(title, _PEER, other, "s")


def _updates(lab: Lab, server: Server) -> Iterator[Figure]:
    told = _call(lab, server, "rollout", _CROWD)
    title = f"request to in force, {_CROWD} devboxes with open connections"
    each = sorted(told["in_force"])
    yield _ms(title, "stockade serve, median", each, "≤ 50")
    slow = each[int(len(each) * 0.99)] * 1e3
    yield Figure(title, "stockade serve, p99", slow, "ms", "ms", slow, "≤ 250")
    yield _ms(title, "until the client is answered", told["seconds"])
    title = f"cut of {_CROWD} connections"
    # The worst of the updates: whatever was open is cut, and the lab sees none of it.
    least = min(
        c / max(o, _CROWD) for c, o in zip(told["cut"], told["open"], strict=True)
    )
    yield Figure(
        title, "by the server's word", least * _CROWD, "at least", "of those open",
        least, "≥ 1", tuple(told["cut"]),
    )  # fmt: skip
    gone = 1 - max(told["left"]) / _CROWD
    yield Figure(
        title, "as the lab's servers saw it", gone * _CROWD, "at least",
        "of those open", gone, "≥ 1", tuple(told["left"]),
    )  # fmt: skip


def _reads(lab: Lab, server: Server, peer: str, scale: Scale) -> Iterator[Figure]:
    policy = _call(lab, server, "policy", 0)["id"]
    url = f"{server.url}/v1/network-policies/{policy}"
    ours, others, costs = [], [], []
    assert server.process is not None
    for _ in range(scale.rounds):
        before = cpu_seconds(server.process.pid)
        ours.append(_rate(lab, url, scale, server.key))
        spent = cpu_seconds(server.process.pid) - before
        costs.append(spent / (ours[-1] * scale.seconds) * 1e6)
        if peer:
            others.append(_rate(lab, f"{_PEER_URL}/v4.0.0/libpod/images/json", scale))
    value = median(ours)
    title = "API reads, 8 connections"
    yield Figure(
        title, "stockade serve", value, "requests/s", "requests/s", value, "≥ 500",
        tuple(ours), cpu=median(costs),
    )  # fmt: skip
    if peer:
        yield Figure(title, _PEER, median(others), "requests/s", samples=tuple(others))


def _ms(title: str, contender: str, seconds: Sequence[float], bar: str = "") -> Figure:
    taken = tuple(value * 1e3 for value in seconds)
    value = median(taken)
    if not bar:
        return Figure(title, contender, value, "ms", samples=taken)
    return Figure(title, contender, value, "ms", "ms", value, bar, taken)


def _call(lab: Lab, server: Server, job: str, number: int) -> dict[str, Any]:
    argv = [sys.executable, "-m", "bench.caller", job, str(number)]
    witness = {WITNESS: json.dumps(lab.inet_prefix)}
    return _json(lab, argv, {**server.variables(), **witness})


def _call_peer(lab: Lab, job: str, number: int) -> dict[str, Any]:
    argv = [sys.executable, "-m", "bench.containers", job, _PEER_URL, str(number)]
    return _json(lab, argv, {})


def _json(lab: Lab, argv: Sequence[str], env: Mapping[str, str]) -> dict[str, Any]:
    done = lab.exec_host(argv, env=env, timeout=_TIMEOUT)
    if done.returncode:
        raise RuntimeError(f"{argv[2]} {argv[3]}: {done.stderr[-1500:]}")
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def _rate(lab: Lab, url: str, scale: Scale, key: str = "") -> float:
    argv = ["wrk", "-t1", "-c8", f"-d{scale.seconds:g}s"]
    if key:
        argv += ["-H", f"Authorization: Bearer {key}"]
    said = lab.exec_host([*argv, url], timeout=60).stdout
    found = _RATE.search(said)
    if found is None or "Non-2xx" in said:
        raise RuntimeError(f"wrk said {said[-300:]}")
    return float(found[1])


@contextlib.contextmanager
def _service(lab: Lab) -> Iterator[tuple[str, str]]:
    """The peer's URL, or why there is none."""
    with podman() as (base, problem):
        if problem:
            yield "", problem
            return
        address = _PEER_URL.replace("http", "tcp")
        argv = [*base, "system", "service", "--time=0", address]
        process = lab.popen_host(argv)
        try:
            for _ in range(50):
                ask = ["curl", "-sf", f"{_PEER_URL}/v4.0.0/libpod/_ping"]
                if lab.exec_host(ask).returncode == 0:
                    break
                time.sleep(0.1)
            _call_peer(lab, "create", 1)
        except RuntimeError as error:
            yield "", f"does not run here: {error}"[-120:]
        else:
            yield _PEER_URL, ""
        finally:
            process.terminate()
            process.wait(20)
