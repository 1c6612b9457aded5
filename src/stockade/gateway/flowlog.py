"""Flow records: one per attempt to communicate, for people, tools and evidence.

A record is announced when its verdict falls and completed when the flow ends; a denied
flow does both at once. Equal DNS questions of one devbox within a second are one record
with a `count`, since a resolver loop asks the same thing thousands of times. Records
leave through subscribers.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from stockade.policy.decide import Decision, Reason, Verdict


class Kind(StrEnum):
    """What was attempted."""

    DNS = "dns"
    TLS = "tls"
    HTTP = "http"
    TCP = "tcp"
    UDP = "udp"
    TUNNEL = "tunnel"


class FlowRecord(NamedTuple):
    """One flow. The field names are the schema of `--flows`, log and API alike.

    *time* is the moment of the verdict in seconds since the epoch, *duration* is in
    seconds, bytes are counted as the devbox sees them: up is what it sent. *addresses*
    are those given in answer to a DNS question. *error* says what went wrong after an
    allow. *ended* is false in the announcement of a flow that goes on.
    """

    id: int
    time: float
    devbox: str
    account: str | None
    execution: str | None
    policy_id: str | None
    generation: int | None
    kind: Kind
    name: str | None
    address: str | None
    port: int | None
    verdict: Verdict
    reason: Reason
    rule: str | None
    bytes_up: int = 0
    bytes_down: int = 0
    duration: float = 0.0
    count: int = 1  # type: ignore[assignment] # instead of what tuples have
    qtype: str | None = None
    addresses: tuple[str, ...] = ()
    error: str | None = None
    ended: bool = True

    def to_json(self) -> str:
        """One line of JSON, ASCII only: no name can break the line or forge a record."""
        return _encode(dict(zip(self._fields, self, strict=True)))


_encode = json.JSONEncoder(ensure_ascii=True, separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose flow it is, and the policy it was judged by."""

    devbox: str
    account: str | None = None
    execution: str | None = None
    policy_id: str | None = None
    generation: int | None = None


@dataclass(frozen=True, slots=True)
class _Asked:
    """What makes two DNS questions equal."""

    subject: Subject
    decision: Decision
    name: str
    qtype: str
    addresses: tuple[str, ...]
    error: str | None


class QuestionCount:
    """Counts equal questions; each time it was written, it begins anew."""

    __slots__ = ("_count", "_log", "_record", "asked")

    def __init__(self, log: FlowLog, asked: _Asked) -> None:
        self._log = log
        self._count = 0
        self._record: FlowRecord | None = None
        self.asked = asked

    def add(self) -> None:
        """Count one question."""
        if not self._count:
            self._record = self._log.begin_question(self)
        self._count += 1

    def take(self) -> FlowRecord:
        """The record of all that were counted since the last time."""
        count, self._count = self._count, 0
        assert self._record is not None  # noqa: S101 - begun with the first of them
        return self._record._replace(count=count, ended=True)


class FlowLog:
    """Makes records and hands them to subscribers."""

    def __init__(
        self, *, wall_clock: Callable[[], float], clock: Callable[[], float]
    ) -> None:
        self._wall_clock = wall_clock
        self._clock = clock
        self._next = 0
        self._subscribers: list[Callable[[FlowRecord], None]] = []
        self._questions: dict[_Asked, QuestionCount] = {}
        self.written = 0

    def subscribe(self, subscriber: Callable[[FlowRecord], None]) -> Callable[[], None]:
        """Hand every record from here on to *subscriber*; returns how to end that."""
        self._subscribers.append(subscriber)

        def end() -> None:
            if subscriber in self._subscribers:
                self._subscribers.remove(subscriber)

        return end

    def open(
        self,
        subject: Subject,
        kind: Kind,
        decision: Decision,
        *,
        name: str | None = None,
        address: str | None = None,
        port: int | None = None,
    ) -> OpenFlow:
        """Announce a flow whose verdict fell; the caller closes it."""
        record = self._record(subject, kind, decision, name, address, port)
        if decision.allowed:
            self.write(record)
        return OpenFlow(self, record, self._clock)

    def question(
        self,
        subject: Subject,
        decision: Decision,
        *,
        name: str,
        qtype: str,
        addresses: tuple[str, ...] = (),
        error: str | None = None,
    ) -> QuestionCount:
        """Count a DNS question; `flush_questions` writes it.

        Returns what counts further ones that are equal, for those who answer many.
        """
        asked = _Asked(subject, decision, name, qtype, addresses, error)
        count = self._questions.get(asked) or QuestionCount(self, asked)
        count.add()
        return count

    def begin_question(self, count: QuestionCount) -> FlowRecord:
        """The record of the questions that *count* counts until they are written.

        One that gave addresses is announced at once: the next gateway has to know of
        the lookup.
        """
        asked = count.asked
        self._questions[asked] = count
        record = self._record(
            asked.subject, Kind.DNS, asked.decision, asked.name, None, 53
        )._replace(
            qtype=asked.qtype,
            addresses=asked.addresses,
            error=asked.error,
        )
        if asked.addresses:
            self.write(record)
        return record

    def flush_questions(self) -> None:
        """Write the questions counted since the last call."""
        questions, self._questions = self._questions, {}
        for count in questions.values():
            self.write(count.take())

    def _record(
        self,
        subject: Subject,
        kind: Kind,
        decision: Decision,
        name: str | None,
        address: str | None,
        port: int | None,
    ) -> FlowRecord:
        self._next += 1
        return FlowRecord(
            id=self._next,
            time=round(self._wall_clock(), 6),
            devbox=subject.devbox,
            account=subject.account,
            execution=subject.execution,
            policy_id=subject.policy_id,
            generation=subject.generation,
            kind=kind,
            name=name,
            address=address,
            port=port,
            verdict=decision.verdict,
            reason=decision.reason,
            rule=decision.rule,
            ended=False,
        )

    def write(self, record: FlowRecord) -> None:
        """Hand a record to the subscribers."""
        self.written += 1
        for subscriber in tuple(self._subscribers):
            subscriber(record)


class OpenFlow:
    """A flow that has its verdict and goes on."""

    def __init__(
        self, log: FlowLog, record: FlowRecord, clock: Callable[[], float]
    ) -> None:
        self._log = log
        self._clock = clock
        self._started = clock()
        self._closed = False
        self.record = record

    def describe(self, kind: Kind, name: str | None) -> None:
        """Add what was learnt since: what the flow is, and its name if there is one."""
        if name or kind is not self.record.kind:
            self.record = self.record._replace(kind=kind, name=name or self.record.name)

    def close(
        self,
        *,
        bytes_up: int = 0,
        bytes_down: int = 0,
        error: str | None = None,
        cut: Decision | None = None,
    ) -> None:
        """Complete the record; a second call does nothing.

        *cut* is the decision of a later policy, or of a later request, that ended the
        flow.
        """
        if self._closed:
            return
        self._closed = True
        decision = (self.record.verdict, self.record.reason, self.record.rule)
        if cut is not None:
            decision = (cut.verdict, cut.reason, cut.rule)
        verdict, reason, rule = decision
        self._log.write(
            self.record._replace(
                verdict=verdict,
                reason=reason,
                rule=rule,
                bytes_up=bytes_up,
                bytes_down=bytes_down,
                error=error,
                duration=round(self._clock() - self._started, 6),
                ended=True,
            )
        )
