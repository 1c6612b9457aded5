"""The record of a connection: one whatever happens, and idle connections told."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

import pytest

from stockade.gateway.flowlog import FlowRecord, Kind
from stockade.gateway.judging import Judged
from stockade.gateway.recording import ConnectionRecord, IdleWatch
from stockade.gateway.services import Limits
from stockade.names import Hostname
from stockade.policy.decide import Decision, Flow, Reason, Verdict, deny
from tests.unit.gateway.fakes import Clock, FakeResolver, devbox, services

ASKED, DIALLED = ip_address("203.0.113.66"), ip_address("203.0.113.10")
ALLOWED = Judged(
    Kind.TLS,
    Decision(Verdict.ALLOW, Reason.ALLOWED_HOSTNAME, "allowed_hostnames: a.test"),
    Hostname("a.test"),
)


@dataclass
class Relayed:
    """What is asked of a relay."""

    bytes_up: int = 0
    bytes_down: int = 0
    is_half_open: bool = False
    probed: int = 0

    def keep_alive(self) -> None:
        self.probed += 1


@pytest.fixture
def written() -> list[FlowRecord]:
    return []


@pytest.fixture
def record(written: list[FlowRecord]) -> ConnectionRecord:
    clock = Clock()
    log = services(clock, FakeResolver(clock), records=written).log
    return ConnectionRecord(log, devbox("a.test"), ASKED, 443)


def relayed(**values: Any) -> Any:
    return Relayed(**values)


def test_a_client_that_left_before_it_was_clear_is_on_record(
    record: ConnectionRecord, written: list[FlowRecord]
) -> None:
    record.close(None)
    (found,) = written
    assert (found.verdict, found.reason) == ("deny", "address_not_allowed")
    assert (found.address, found.port) == ("203.0.113.66", 443)


def test_the_address_is_the_one_that_was_dialled(
    record: ConnectionRecord, written: list[FlowRecord]
) -> None:
    record.open(ALLOWED, Flow(443, address=DIALLED))
    record.close(relayed(bytes_up=3, bytes_down=4))
    (found,) = written
    assert (found.name, found.address) == ("a.test", "203.0.113.10")
    assert (found.bytes_up, found.bytes_down) == (3, 4)


def test_a_denial_is_of_the_address_that_was_asked_for(
    record: ConnectionRecord, written: list[FlowRecord]
) -> None:
    record.deny(Judged(Kind.HTTP, deny(Reason.HTTP_CONNECT), shown="x"))
    record.close(None)
    (found,) = written
    assert (found.address, found.name, found.kind) == ("203.0.113.66", "x", "http")


def test_the_first_error_is_the_one_that_counts(
    record: ConnectionRecord, written: list[FlowRecord]
) -> None:
    record.open(ALLOWED)
    record.failed(ConnectionResetError(104, "Connection reset by peer"))
    record.failed(TimeoutError())
    record.close(relayed())
    assert written[0].error == "Connection reset by peer"


def test_an_error_without_words_has_its_name(
    record: ConnectionRecord, written: list[FlowRecord]
) -> None:
    record.open(ALLOWED)
    record.failed(TimeoutError())
    record.close(relayed())
    assert written[0].error == "TimeoutError"


def test_a_cut_is_the_last_word(
    record: ConnectionRecord, written: list[FlowRecord]
) -> None:
    record.open(ALLOWED)
    record.cut = deny(Reason.HOSTNAME_NOT_ALLOWED)
    record.close(relayed(bytes_up=9))
    assert (written[0].verdict, written[0].reason, written[0].bytes_up) == (
        "deny",
        "hostname_not_allowed",
        9,
    )


def test_a_connection_is_idle_when_nothing_moves() -> None:
    watch = IdleWatch(Limits(idle_timeout=100.0, half_open_timeout=10.0))
    assert watch.problem(None, 0.0) is None
    assert watch.problem(relayed(bytes_up=1), 0.0) is None
    assert watch.problem(relayed(bytes_up=1), 100.0) is None
    assert watch.problem(relayed(bytes_up=1), 100.1) == "nothing passed for 100 s"
    assert watch.problem(relayed(bytes_up=1, bytes_down=1), 200.0) is None
    assert watch.problem(relayed(bytes_up=1, bytes_down=1), 299.0) is None


def test_a_half_open_connection_has_less_time() -> None:
    watch = IdleWatch(Limits(idle_timeout=100.0, half_open_timeout=10.0))
    assert watch.problem(relayed(is_half_open=True), 0.0) is None
    assert watch.problem(relayed(is_half_open=True), 11.0) == "nothing passed for 10 s"


def test_what_lasts_is_probed_from_then_on() -> None:
    watch = IdleWatch(Limits())
    relay = relayed()
    for now in (0.0, 5.0, 10.0):
        watch.problem(relay, now)
    assert relay.probed == 1
