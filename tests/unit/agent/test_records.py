"""One record a flow, whatever becomes of the gateway that announced it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from stockade.agent import records as module
from stockade.agent.records import RecordBook, read_record
from stockade.gateway.flowlog import FlowLog, FlowRecord, Kind, Subject
from stockade.gateway.settings import MAX_LINE
from stockade.policy.decide import Decision, Reason, Verdict, deny
from tests.unit.gateway.fakes import Clock

ALLOWED = Decision(Verdict.ALLOW, Reason.ALLOWED_HOSTNAME, "allowed_hostnames: a.test")


class Wire:
    """A gateway's log, a line of JSON a record, into a book."""

    def __init__(self) -> None:
        self.taken: list[FlowRecord] = []
        self.lines: list[dict[str, Any]] = []
        self.book = RecordBook(self.taken.append)
        self.log = FlowLog(wall_clock=Clock(), clock=Clock())
        self.log.subscribe(self._write)

    def _write(self, record: FlowRecord) -> None:
        self.lines.append(json.loads(record.to_json()))
        self.book.take(self.lines[-1])


@pytest.fixture
def wire() -> Wire:
    return Wire()


def told(wire: Wire, name: str, *addresses: str, box: str = "dbx_1") -> None:
    wire.log.question(
        Subject(box), ALLOWED, name=name, qtype="A", addresses=tuple(addresses)
    )
    wire.log.flush_questions()


def test_a_record_survives_the_wire(wire: Wire) -> None:
    flow = wire.log.open(
        Subject("dbx_1", "acct", None, "npol_1", 2), Kind.TLS, ALLOWED, name="a.test"
    )
    flow.close(bytes_up=1, bytes_down=2)
    assert wire.taken[0] == read_record(wire.lines[-1])
    assert (wire.taken[0].kind, wire.taken[0].reason) == (
        Kind.TLS,
        Reason.ALLOWED_HOSTNAME,
    )


def test_fields_of_a_later_version_are_left_out(wire: Wire) -> None:
    wire.log.open(Subject("dbx_1"), Kind.TCP, deny(Reason.QUIC)).close()
    assert read_record({**wire.lines[0], "later": 1}) == wire.taken[0]


def test_an_announcement_is_not_handed_on(wire: Wire) -> None:
    flow = wire.log.open(Subject("dbx_1"), Kind.TCP, ALLOWED)
    assert wire.taken == []
    flow.close()
    assert [record.ended for record in wire.taken] == [True]
    wire.book.gateway_ended()
    assert len(wire.taken) == 1


def test_what_a_gateway_left_open_is_completed_at_its_end(wire: Wire) -> None:
    wire.log.open(Subject("dbx_1"), Kind.TCP, ALLOWED, name="a.test")
    wire.book.gateway_ended()
    (record,) = wire.taken
    assert (record.ended, record.error, record.name) == (
        True,
        "the gateway ended",
        "a.test",
    )
    wire.book.gateway_ended()
    assert len(wire.taken) == 1


def test_numbers_of_the_next_gateway_are_its_own(wire: Wire) -> None:
    wire.log.open(Subject("dbx_1"), Kind.TCP, ALLOWED, name="a.test")
    wire.book.gateway_ended()
    second = FlowLog(wall_clock=Clock(), clock=Clock())
    second.subscribe(lambda record: wire.book.take(json.loads(record.to_json())))
    second.open(Subject("dbx_1"), Kind.TCP, ALLOWED, name="b.test").close()
    assert [record.name for record in wire.taken] == ["a.test", "b.test"]


def test_lookups_are_remembered_for_the_next_gateway_the_latest_last(
    wire: Wire,
) -> None:
    told(wire, "a.test", "203.0.113.1", "203.0.113.2")
    told(wire, "b.test", "203.0.113.1")
    told(wire, "a.test", "203.0.113.1")
    told(wire, "c.test", "203.0.113.9", box="dbx_2")
    assert wire.book.lookups("dbx_1") == {
        "203.0.113.1": ["b.test", "a.test"],
        "203.0.113.2": ["a.test"],
    }
    assert wire.book.lookups("dbx_3") == {}
    wire.book.forget("dbx_1")
    assert wire.book.lookups("dbx_1") == {}
    assert wire.book.lookups("dbx_2") == {"203.0.113.9": ["c.test"]}


def test_a_lookup_is_remembered_before_its_record_is_complete(wire: Wire) -> None:
    """A gateway that is killed within the second would else take it along."""
    wire.log.question(
        Subject("dbx_1"), ALLOWED, name="a.test", qtype="A", addresses=("203.0.113.1",)
    )
    assert wire.taken == []
    assert wire.book.lookups("dbx_1") == {"203.0.113.1": ["a.test"]}
    wire.book.gateway_ended()
    assert [(record.name, record.count) for record in wire.taken] == [("a.test", 1)]


def test_a_denied_question_is_no_lookup(wire: Wire) -> None:
    wire.log.question(
        Subject("dbx_1"), deny(Reason.HOSTNAME_NOT_ALLOWED), name="d.test", qtype="A"
    )
    wire.log.flush_questions()
    assert wire.book.lookups("dbx_1") == {}


def test_the_oldest_lookups_are_forgotten_first(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_LOOKUPS", 2)
    for number in range(5):
        told(wire, "a.test", f"203.0.113.{number}")
    assert list(wire.book.lookups("dbx_1")) == ["203.0.113.3", "203.0.113.4"]


def test_all_lookups_of_a_devbox_fit_into_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Names without number on one address: the next gateway has to be able to start."""
    share = 16  # Of the number of lookups, and of the line.
    monkeypatch.setattr(module, "MAX_LOOKUPS", module.MAX_LOOKUPS // share)
    book = RecordBook(print)
    longest = ".".join(["x" * 63] * 3 + ["y" * 55])
    line = {
        **json.loads(
            FlowRecord(
                1, 0.0, "dbx_1", None, None, None, None, Kind.DNS, "", None, 53,
                Verdict.ALLOW, Reason.ALLOWED_HOSTNAME, None,
            ).to_json()
        ),
        "addresses": ["2001:db8:1111:2222:3333:4444:5555:6666"],
    }  # fmt: skip
    for number in range(module.MAX_LOOKUPS + 100):
        book.take({**line, "name": f"{number:05}.{longest}"[:253]})
    lookups = book.lookups("dbx_1")
    assert sum(map(len, lookups.values())) == module.MAX_LOOKUPS
    assert len(json.dumps(lookups)) < MAX_LINE * 3 // 4 // share


def test_numbers_go_on_from_one_gateway_to_the_next(wire: Wire) -> None:
    """Each counts its flows from one; no two records have the same number."""
    for _ in range(3):
        wire.log = FlowLog(wall_clock=Clock(), clock=Clock())
        wire.log.subscribe(wire._write)
        wire.log.open(Subject("dbx_1"), Kind.TCP, deny(Reason.QUIC)).close()
        wire.log.open(Subject("dbx_1"), Kind.TCP, ALLOWED)
        wire.book.gateway_ended()
    numbers = [record.id for record in wire.taken]
    assert numbers == sorted(set(numbers))
    assert len(numbers) == 6
