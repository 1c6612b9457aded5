"""The summary of a run: what was denied and how to allow it, what was reached."""

from __future__ import annotations

from typing import Any

import pytest

from stockade.cli.summary import MAX_HOSTS, MAX_LINES, OTHERS, Summary, advice
from stockade.gateway.flowlog import FlowRecord, Kind
from stockade.policy.decide import Reason, Verdict


def record(**values: Any) -> FlowRecord:
    defaults: dict[str, Any] = {
        "id": 1,
        "time": 0.0,
        "devbox": "dbx_1",
        "account": None,
        "execution": None,
        "policy_id": "run",
        "generation": 1,
        "kind": Kind.TLS,
        "name": "a.test",
        "address": "203.0.113.10",
        "port": 443,
        "verdict": Verdict.ALLOW,
        "reason": Reason.ALLOWED_HOSTNAME,
        "rule": None,
    }
    return FlowRecord(**{**defaults, **values})


def denied(**values: Any) -> FlowRecord:
    usual = {"verdict": Verdict.DENY, "reason": Reason.HOSTNAME_NOT_ALLOWED}
    return record(**{**usual, "name": "d.test", **values})


def question(made: Any, **values: Any) -> FlowRecord:
    whole: FlowRecord = made(kind=Kind.DNS, port=53, address=None, qtype="A", **values)
    return whole


def summary(*records: FlowRecord, missed: int = 0) -> list[str]:
    made = Summary()
    made.missed = missed
    for each in records:
        made.add(each)
    return list(made.lines())


def test_of_nothing_there_is_no_summary() -> None:
    assert summary() == []
    assert summary(question(record)) == []


def test_what_was_reached_is_added_up_by_host_and_port() -> None:
    lines = summary(
        record(bytes_up=500, bytes_down=1_500),
        record(bytes_up=500, bytes_down=1_000_000),
        record(port=80, kind=Kind.HTTP, bytes_down=999),
    )
    assert lines == [
        "stockade: 1 host reached, 0 denied",
        "  reached  a.test:443  2 connections, 1 kB up, 1 MB down",
        "  reached  a.test:80  1 connection, 0 B up, 999 B down",
    ]


def test_what_was_denied_says_how_to_allow_it() -> None:
    lines = summary(denied(), denied(), question(denied, count=4))
    assert lines == [
        "stockade: 0 hosts reached, 1 denied",
        "  denied   d.test:443  2 times: hostname_not_allowed  (--allow d.test)",
    ]


def test_a_question_alone_is_told_as_one() -> None:
    assert summary(question(denied, count=4))[1] == (
        "  denied   d.test  4 times as a DNS question: hostname_not_allowed"
        "  (--allow d.test)"
    )


def test_an_address_is_allowed_by_a_range() -> None:
    values: dict[str, Any] = {
        "name": None,
        "reason": Reason.ADDRESS_NOT_ALLOWED,
        "port": 5432,
    }
    assert summary(denied(**values))[1].endswith("(--allow-cidr 203.0.113.10/32@5432)")
    values["address"] = "2001:db8::1"
    assert summary(denied(**values))[1].endswith("(--allow-cidr 2001:db8::1/128@5432)")


@pytest.mark.parametrize(
    "reason",
    [Reason.GUARDRAIL_METADATA, Reason.GUARDRAIL_HOST, Reason.TLS_UNPARSEABLE],
)
def test_what_no_option_allows_has_no_advice(reason: Reason) -> None:
    assert advice("169.254.169.254", 80, reason) == ""
    assert advice("a.test", 80, reason) == ""


def test_a_failure_after_an_allow_is_told() -> None:
    lines = summary(
        record(error="Connection refused"), question(record, error="no answer")
    )
    assert "  failed   a.test: no answer" in lines
    assert lines[-1].endswith("0 B up, 0 B down  (Connection refused)")


def test_an_error_after_bytes_is_nobodys_concern() -> None:
    assert "reset" not in summary(record(error="reset", bytes_down=5))[-1]


def test_a_long_summary_is_cut_and_says_so() -> None:
    lines = summary(*(denied(name=f"d{number}.test") for number in range(100)))
    assert len(lines) == MAX_LINES + 2
    assert "60 more" in lines[-1]
    assert "--flows" in lines[-1]


def test_missed_records_are_told() -> None:
    assert summary(missed=3)[-1] == "  3 flow records were missed by this summary"


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1_000, "1 kB"), (1_234_567, "1.23 MB")],
)
def test_sizes_have_three_digits(count: int, text: str) -> None:
    assert f"{text} up" in summary(record(bytes_up=count))[1]


def test_hosts_without_number_take_no_memory_without_end() -> None:
    made = Summary()
    for number in range(MAX_HOSTS + 500):
        made.add(question(denied, name=f"x{number}.test"))
        made.add(record(name=f"x{number}.test"))
    lines = list(made.lines())
    assert (
        lines[0] == f"stockade: {MAX_HOSTS + 1} hosts reached, {MAX_HOSTS + 1} denied"
    )
    said = f"  denied   {OTHERS}  500 times as a DNS question: hostname_not_allowed"
    assert lines[1] == said
    assert len(made._denied) == len(made._reached) == MAX_HOSTS + 1


def test_no_name_gives_orders_to_the_terminal() -> None:
    hostile = "\x1b]0;owned\x07\x9b2J\r\nstockade: all is well"
    for line in summary(denied(name=hostile), record(name=hostile)):
        assert line.isprintable()
