"""What the fuzzer kept is checked again, without the fuzzer; and each check can fail."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from fuzz import (
    control,
    dns_service,
    judging,
    names,
    policies,
    tcp_service,
    wire_dns,
    wire_http,
    wire_sniff,
    wire_tls,
)
from fuzz.catalog import TARGETS
from fuzz.target import MAX_SECONDS, Finding, Target
from fuzz.tcp_world import World
from stockade.gateway.flowlog import Kind
from stockade.gateway.judging import Judged
from stockade.names import Hostname
from stockade.policy.decide import Decision, Reason, Verdict
from stockade.wire.dns import QType, Record, parse_query, render_query
from stockade.wire.http1 import parse_request_head
from stockade.wire.sniff import Protocol, Sniffed
from stockade.wire.tls import ClientHello
from tests.unit.gateway import fakes
from tests.unit.wire.builders import head, hello

FUZZ = Path(__file__).resolve().parents[3] / "fuzz"
EVERY = pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
# A name that is not ASCII fails on its way to OpenSSL's callback, outside of any `try`.
pytestmark = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)
BIG = 65_536
OWN = ip_address("203.0.113.10")
A_TEST, D_TEST = head(), head(host="d.test")


@EVERY
def test_what_the_fuzzer_kept(target: Target) -> None:
    corpus = sorted((FUZZ / "corpus" / target.name).iterdir())
    regressions = sorted((FUZZ / "regressions" / target.name).glob("*"))
    assert corpus, "python -m fuzz.minimise makes it"
    for path in (*corpus, *regressions):
        target.run(path.read_bytes())


@EVERY
def test_what_the_fuzzer_begins_with(target: Target) -> None:
    for seed in target.seeds:
        target.run(seed)
        for size in range(0, len(seed), 7):
            target.run(seed[:size])


@EVERY
def test_nothing_takes_long(target: Target) -> None:
    """Every seed, grown to far more than the fuzzer sends."""
    for seed in target.seeds:
        grown = seed + seed[len(seed) // 2 :] * (BIG // max(len(seed), 1))
        target.run(grown[:BIG])


def test_the_corpus_is_small() -> None:
    files = [path for path in (FUZZ / "corpus").rglob("*") if path.is_file()]
    assert {path.parent.name for path in files} == set(TARGETS)
    assert sum(path.stat().st_size for path in files) < 300_000


def lies(data: bytes) -> Any:
    """A parser that takes whatever it is given for a request to a.test."""
    return parse_request_head(data.replace(b"d.test", b"a.test"))


def allowed(name: str, kind: Kind = Kind.HTTP) -> Judged:
    decision = Decision(Verdict.ALLOW, Reason.ALLOWED_HOSTNAME, name)
    return Judged(kind, decision, Hostname(name))


def world(policy: int = 0) -> World:
    return tcp_service.scene(bytes((0, 0, 0, policy)))[0]


def unclosed() -> None:
    scene = world()
    scene.loop.run_until_complete(scene.live([scene.client_ends]))
    scene.client.is_closed = False
    scene.judge()


QUERY = parse_query(render_query(7, "a.test", 1))
PUSH = fakes.push("b.test").to_mapping()
FAILING = {
    "a hello with another name": lambda: wire_tls.check_hello(
        hello(b"d.test"), lambda _: ClientHello("a.test")
    ),
    "a hello that is waited for": lambda: wire_tls.check_hello(
        hello(b"d.test"), lambda _: None
    ),
    "a head with another host": lambda: wire_http.check_head(D_TEST, lies),
    "a head with another end": lambda: wire_http.check_head(
        head("Content-Length: 5", line="PUT / HTTP/1.1"),
        lambda data: parse_request_head(data.replace(b": 5", b": 4")),
    ),
    "a head without its body": lambda: wire_http.check_head(
        head("Content-Length: 5", line="PUT / HTTP/1.1"),
        lambda data: parse_request_head(data.replace(b": 5", b": 0")),
    ),
    "a request that was not seen": lambda: wire_http.check_forwarded(
        [lies(A_TEST)], A_TEST + D_TEST
    ),
    "a request that nobody else sees": lambda: wire_http.check_forwarded(
        [lies(A_TEST)] * 2, A_TEST
    ),
    "opaque bytes that are HTTP": lambda: wire_sniff.check_no_other_name(
        D_TEST, Sniffed(Protocol.OPAQUE, None, None, None)
    ),
    "opaque bytes that are TLS": lambda: wire_sniff.check_no_other_name(
        hello(b"d.test"), Sniffed(Protocol.OPAQUE, None, None, None)
    ),
    "another name than is read": lambda: wire_sniff.check_no_other_name(
        D_TEST, Sniffed(Protocol.HTTP, "a.test", None, lies(A_TEST))
    ),
    "an answer that is too large": lambda: wire_dns.expect_answer(
        QUERY, b"\0\7\x81\x80" + bytes(8) + QUERY.question.raw, 12
    ),
    "an answer to another question": lambda: wire_dns.expect_answer(
        QUERY, b"\0\7\x81\x80" + bytes(8) + b"\1d" + QUERY.question.raw[2:], 512
    ),
    "a record of nobody": lambda: wire_dns._expect_chain(
        (Record("d.test", QType.A, 1, "d.test"),)
    ),
    "a name judged that is another": lambda: judging._check_meant(
        D_TEST, "a.test", allowed("a.test"), 80, ()
    ),
    "a server name judged that is another": lambda: judging._check_meant(
        hello(b"d.test"), "a.test", allowed("a.test", Kind.TLS), 443, ()
    ),
    "an opaque protocol by any name": lambda: judging._check_meant(
        b"SSH-2.0-x", "a.test", allowed("a.test", Kind.TCP), 22, (Hostname("b.test"),)
    ),
    "octets for the wrong upstream": lambda: world()._judge_sent("b.test", A_TEST),
    "a later request for the wrong upstream": lambda: world()._judge_sent(
        "a.test", A_TEST + D_TEST
    ),
    "octets under a policy that forbids them": lambda: world(2)._sends(
        "a.test", OWN, 80
    ),
    "a socket that is left open": unclosed,
    "a policy that was acknowledged and is not in force": lambda: (
        control._expect_in_force(
            fakes.devbox("a.test"), PUSH, {"generation": 1, "digest": PUSH["digest"]}
        )
    ),
    "a compiled policy that means something else": lambda: policies.check_policy(
        fakes.policy("a.test"), fakes.devbox("b.test").policy
    ),
}


@pytest.mark.parametrize("fault", FAILING)
def test_each_check_can_fail(fault: str) -> None:
    with pytest.raises(Finding):
        FAILING[fault]()


def test_the_resolver_that_watches_sees_a_forbidden_question() -> None:
    push, _ = dns_service._POLICIES[0]
    data = dns_service.DNS.seeds[0]
    dns_service.check(data)
    with pytest.MonkeyPatch.context() as patch:
        wrong = ((push, lambda _: False), *dns_service._POLICIES[1:])
        patch.setattr(dns_service, "_POLICIES", wrong)
        with pytest.raises(Finding, match="not allowed was asked"):
            dns_service.check(data)


def test_addresses_that_look_like_names_are_seen() -> None:
    assert names._is_address("127.1")
    assert names._is_address("0x7f000001")
    assert not names._is_address("a.test")


def test_an_input_that_takes_long_is_a_finding() -> None:
    def slow(_: bytes) -> None:
        sum(range(int(1e8 * MAX_SECONDS)))

    with pytest.raises(Finding, match="octets"):
        Target("slow", slow, ()).run(b"")


def lived(data: bytes) -> tuple[float, int, list[bytes]]:
    """When and in which round a scene ended, and what its upstreams got."""
    scene, steps = tcp_service.scene(data)
    scene.loop.run_until_complete(scene.live(steps))
    sent = [upstream.sock.sent for upstream in scene.upstreams]
    return scene.loop.time(), scene.loop._rounds, sent


def test_a_scene_is_the_same_whatever_was_before() -> None:
    scenes = tcp_service.TCP.seeds
    backwards = [lived(data) for data in reversed(scenes)]
    assert [lived(data) for data in scenes] == backwards[::-1]


def test_nothing_piles_up_from_scene_to_scene() -> None:
    for _ in range(20):
        for seed in dns_service.DNS.seeds:
            dns_service.check(bytes((seed[0] | 16,)) + seed[1:])
    assert len(dns_service._LOOP._scheduled) < 20
