"""A fault in the gateway is found by what the fuzzer begins with, without any luck."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from fuzz.catalog import TARGETS
from fuzz.target import Finding
from stockade.gateway import connection, http, judging, relay
from stockade.gateway.devboxes import AttachedDevbox
from stockade.gateway.dns import DnsAnswerer
from stockade.gateway.flowlog import Kind
from stockade.names import Hostname
from stockade.policy.decide import Decision, Reason, Verdict
from stockade.wire import http1_head, sniff, tls

ALLOWED = Decision(Verdict.ALLOW, Reason.ALLOWED_HOSTNAME)
pytestmark = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning",
)


def first(_name: str, values: list[str]) -> str:
    return values[0]


def nothing(*_: Any) -> None:
    return None


async def kept(_connection: Any, early: asyncio.Task[None] | None) -> None:
    if early is not None:
        early.cancel()


async def asked_first(self: DnsAnswerer, *arguments: Any, **options: Any) -> Any:
    """An answerer that asks before it judges."""
    for name in ("d.test", "a.test"):
        await self._services.resolver.resolve(Hostname(name), 1)
    return await ANSWER(self, *arguments, **options)


ANSWER = DnsAnswerer.answer

FAULTS: dict[str, tuple[str, Any, str, Any]] = {
    "a change of policy cuts nothing": (
        "tcp_service", AttachedDevbox, "recheck_flows", lambda _: 0,
    ),
    "later requests are not checked": (
        "tcp_service", http.RequestRelay, "_check", nothing,
    ),
    "whatever is decided is allow": (
        "tcp_service", AttachedDevbox, "decide", lambda *_: ALLOWED,
    ),
    "an offer to upgrade is forwarded with its body": (
        "tcp_service", http, "rewrite_without_upgrade", bytes,
    ),
    "any answer lets the protocol change": (
        "tcp_service", http, "_SWITCHING_PROTOCOLS", 200,
    ),
    "an upstream of another name is kept": (
        "tcp_service", connection.Connection, "_drop_early", kept,
    ),
    "the end of the client is not passed on": (
        "tcp_service", relay.Relay, "end_up", nothing,
    ),
    "every name is allowed": ("judge", AttachedDevbox, "decide", lambda *_: ALLOWED),
    "a name that is told is what is shown": (
        "judge", judging, "meant_by",
        lambda _: judging.Meant(Kind.TLS, Hostname("a.test"), None),
    ),
    "barred addresses are given": ("dns_service", DnsAnswerer, "_removed", nothing),
    "denied names are asked": ("dns_service", DnsAnswerer, "answer", asked_first),
    "an answer outlives its policy": ("dns_service", AttachedDevbox, "_changed", nothing),
    "offers to upgrade are not seen": ("http_head", http1_head, "_upgrade", nothing),
    "nor on a connection": ("http_stream", http1_head, "_upgrade", nothing),
    "the first of two Hosts counts": ("http_head", http1_head, "_only", first),
    "Host and target may differ": ("http_head", http1_head, "_expect_same", nothing),
    "no body is seen": (
        "http_head", http1_head, "_framing", lambda *_: (http1_head.Framing.NONE, 0),
    ),
    "no text is HTTP": ("sniff", sniff, "_is_request", lambda *_: False),
    "a server name is not looked for": (
        "tls_hello", tls, "_parse_server_name", nothing,
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found_at_once(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    target, place, name, value = FAULTS[fault]
    monkeypatch.setattr(place, name, value)
    assert any(finds(TARGETS[target].check, seed) for seed in TARGETS[target].seeds)


def finds(check: Callable[[bytes], None], data: bytes) -> bool:
    try:
        check(data)
    except Finding:
        return True
    return False
