"""Flow records: announced, completed, counted, and never more than one line."""

from __future__ import annotations

import json

import pytest

from stockade.gateway.flowlog import FlowLog, FlowRecord, Kind, Subject
from stockade.policy.decide import Decision, Reason, Verdict, deny
from tests.unit.gateway.fakes import Clock

ALLOWED = Decision(Verdict.ALLOW, Reason.ALLOWED_HOSTNAME, "allowed_hostnames: a.test")
DENIED = deny(Reason.HOSTNAME_NOT_ALLOWED)
BOX = Subject("dbx_1", "acct", "exec", "npol_1", 3)


@pytest.fixture
def clock() -> Clock:
    return Clock(100.0)


@pytest.fixture
def written() -> list[FlowRecord]:
    return []


@pytest.fixture
def log(clock: Clock, written: list[FlowRecord]) -> FlowLog:
    log = FlowLog(wall_clock=lambda: 1_700_000_000.1234567, clock=clock)
    log.subscribe(written.append)
    return log


def test_an_allowed_flow_is_announced_and_completed(
    log: FlowLog, clock: Clock, written: list[FlowRecord]
) -> None:
    flow = log.open(BOX, Kind.TLS, ALLOWED, name="a.test", address="::1", port=443)
    assert [record.ended for record in written] == [False]
    clock.now += 2.5
    flow.close(bytes_up=10, bytes_down=20)
    first, last = written
    assert first.id == last.id
    assert (last.ended, last.duration, last.bytes_up, last.bytes_down) == (
        True,
        2.5,
        10,
        20,
    )
    assert (last.devbox, last.account, last.execution) == ("dbx_1", "acct", "exec")
    assert (last.policy_id, last.generation) == ("npol_1", 3)
    assert last.time == 1_700_000_000.123457


def test_a_denied_flow_is_one_record(log: FlowLog, written: list[FlowRecord]) -> None:
    flow = log.open(BOX, Kind.TCP, DENIED, address="203.0.113.66", port=1)
    assert written == []
    flow.close()
    assert [(r.verdict, r.reason, r.ended) for r in written] == [
        (Verdict.DENY, Reason.HOSTNAME_NOT_ALLOWED, True)
    ]


def test_a_flow_is_completed_once(log: FlowLog, written: list[FlowRecord]) -> None:
    flow = log.open(BOX, Kind.TCP, ALLOWED)
    flow.close(bytes_up=1)
    flow.close(bytes_up=2)
    assert [record.bytes_up for record in written] == [0, 1]


def test_a_cut_changes_the_verdict_and_keeps_the_bytes(
    log: FlowLog, written: list[FlowRecord]
) -> None:
    flow = log.open(BOX, Kind.TLS, ALLOWED, name="a.test")
    flow.close(bytes_up=5, bytes_down=7, cut=DENIED)
    last = written[-1]
    assert (last.verdict, last.reason, last.rule) == (
        Verdict.DENY,
        Reason.HOSTNAME_NOT_ALLOWED,
        None,
    )
    assert (last.bytes_up, last.bytes_down) == (5, 7)


def test_what_is_learnt_later_is_in_the_last_record(
    log: FlowLog, written: list[FlowRecord]
) -> None:
    flow = log.open(BOX, Kind.TCP, ALLOWED, name="told.test")
    flow.describe(Kind.TLS, None)
    flow.close()
    assert (written[-1].kind, written[-1].name) == (Kind.TLS, "told.test")


def test_equal_questions_are_one_record_with_a_count(
    log: FlowLog, written: list[FlowRecord]
) -> None:
    for _ in range(5_000):
        log.question(BOX, DENIED, name="d.test", qtype="A")
    log.question(BOX, DENIED, name="d.test", qtype="AAAA")
    log.question(BOX, ALLOWED, name="a.test", qtype="A")
    assert written == []
    log.flush_questions()
    assert [(r.name, r.qtype, r.count, r.port) for r in written] == [
        ("d.test", "A", 5_000, 53),
        ("d.test", "AAAA", 1, 53),
        ("a.test", "A", 1, 53),
    ]
    log.flush_questions()
    assert len(written) == 3


def test_a_lookup_is_announced_at_once_and_counted_later(
    log: FlowLog, written: list[FlowRecord]
) -> None:
    for _ in range(3):
        log.question(BOX, ALLOWED, name="a.test", qtype="A", addresses=("203.0.113.1",))
    assert [(r.addresses, r.ended) for r in written] == [(("203.0.113.1",), False)]
    log.flush_questions()
    assert [(r.count, r.ended) for r in written] == [(1, False), (3, True)]
    assert written[0].id == written[1].id


def test_the_log_counts_what_it_wrote(log: FlowLog) -> None:
    log.open(BOX, Kind.TCP, ALLOWED).close()
    log.open(BOX, Kind.TCP, DENIED).close()
    assert log.written == 3


def test_a_subscription_ends(log: FlowLog, written: list[FlowRecord]) -> None:
    other: list[FlowRecord] = []
    end = log.subscribe(other.append)
    log.open(BOX, Kind.TCP, DENIED).close()
    end()
    end()
    log.open(BOX, Kind.TCP, DENIED).close()
    assert (len(other), len(written)) == (1, 2)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param('a"}\n{"verdict":"allow"', id="a forged record"),
        pytest.param("a\r\nb", id="line ends"),
        pytest.param("\x1b[2J\x00\x7f", id="control characters"),
        pytest.param("\u2028\u2029\x85", id="line ends of other scripts"),
        pytest.param("\ud800", id="half a character"),
    ],
)
def test_no_name_breaks_a_line(
    log: FlowLog, written: list[FlowRecord], name: str
) -> None:
    log.open(BOX, Kind.HTTP, DENIED, name=name).close()
    text = written[0].to_json()
    assert text.isascii()
    assert len(text.splitlines()) == 1
    assert json.loads(text)["name"] == name
    assert json.loads(text)["verdict"] == "deny"
