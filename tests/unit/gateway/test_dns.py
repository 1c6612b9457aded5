"""Answers to DNS questions, read by another implementation: who gets which, and why."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import pytest

from stockade.gateway.devboxes import AttachedDevbox
from stockade.gateway.dns import MAX_REMEMBERED, DnsAnswerer
from stockade.gateway.flowlog import FlowRecord
from stockade.gateway.questions import Bucket, QuestionLimits
from stockade.names import Hostname
from stockade.policy.decide import Reason
from stockade.policy.guardrails import Guardrails
from stockade.wire.dns import Answer, QType, Rcode, Record
from tests.unit.gateway.fakes import (
    Clock,
    FakeResolver,
    devbox,
    policy,
    push,
    run,
    services,
)

GOOD, PRIVATE = "203.0.113.10", "10.20.0.10"
CIDR = {"cidr": "10.20.0.0/16", "ports": [{"port": 5432}]}


@dataclass
class Desk:
    """An answerer with a resolver of the test's; `ask` as a stub resolver asks."""

    answered: str = "sinkhole"
    clock: Clock = field(default_factory=Clock)
    records: list[FlowRecord] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.resolver = FakeResolver(self.clock)
        self.resolver.add("a.test", GOOD, "2001:db8::10")
        self.services = services(
            self.clock,
            self.resolver,
            records=self.records,
            denied_answer=self.answered,
        )
        self.answerer = DnsAnswerer(self.services, self.clock)

    def ask(
        self, box: AttachedDevbox, name: str, kind: str = "A", **options: Any
    ) -> dns.message.Message:
        query = dns.message.make_query(name, kind, use_edns=options.pop("edns", 0))
        reply = run(self.answerer.answer(box, query.to_wire(), **options))
        assert reply is not None
        message = dns.message.from_wire(reply)
        assert query.is_response(message)
        assert message.flags & dns.flags.RA
        self.services.log.flush_questions()
        return message

    @property
    def reasons(self) -> list[str]:
        return [str(record.reason) for record in self.records]


@pytest.fixture
def desk() -> Desk:
    return Desk()


def texts(message: dns.message.Message) -> list[str]:
    return [str(item) for rrset in message.answer for item in rrset]


def ede(message: dns.message.Message) -> list[tuple[int, str]]:
    return [
        (option.code, option.text or "")
        for option in message.options
        if isinstance(option, dns.edns.EDEOption)
    ]


def test_an_allowed_name_is_answered_and_noted(desk: Desk) -> None:
    box = devbox("a.test")
    message = desk.ask(box, "A.Test.")
    assert texts(message) == [GOOD]
    assert message.answer[0].ttl == 60
    assert box.lookups.names(ip_address(GOOD)) == (Hostname("a.test"),)
    (record,) = desk.records
    assert (record.name, record.qtype, record.addresses) == ("a.test", "A", (GOOD,))
    assert record.reason == "allowed_hostname"


def test_the_time_to_live_is_what_is_left(desk: Desk) -> None:
    box = devbox("a.test")
    desk.ask(box, "a.test")
    desk.clock.now += 45
    assert desk.ask(box, "a.test").answer[0].ttl == 15
    assert desk.resolver.asked == [("a.test", QType.A)]


def test_a_denied_name_is_asked_of_nobody_and_gets_the_sinkhole(desk: Desk) -> None:
    box = devbox("a.test")
    message = desk.ask(box, "d.test")
    assert desk.resolver.asked == []
    (address,) = texts(message)
    assert box.sinkhole.name_of(ip_address(address)) == Hostname("d.test")
    assert message.answer[0].ttl == 1
    ((code, text),) = ede(message)
    assert code == 15
    assert "d.test" in text
    assert "hostname_not_allowed" in text
    assert box.lookups.names(ip_address(address)) == ()
    assert desk.reasons == ["hostname_not_allowed"]


@pytest.mark.parametrize("kind", ["AAAA", "TXT", "HTTPS", "MX"])
def test_a_denied_name_has_no_other_records(desk: Desk, kind: str) -> None:
    message = desk.ask(devbox(), "d.test", kind)
    assert (texts(message), message.rcode()) == ([], dns.rcode.NOERROR)
    assert ede(message)[0][0] == 15
    assert desk.resolver.asked == []


@pytest.mark.parametrize(
    ("setting", "rcode"), [("nxdomain", "NXDOMAIN"), ("refused", "REFUSED")]
)
def test_the_operator_chooses_how_a_denied_name_is_answered(
    setting: str, rcode: str
) -> None:
    desk = Desk(setting)
    message = desk.ask(devbox(), "d.test")
    assert dns.rcode.to_text(message.rcode()) == rcode
    assert texts(message) == []
    assert ede(message)[0][0] == 15


def test_in_quarantine_everything_is_denied(desk: Desk) -> None:
    message = desk.ask(devbox(None), "a.test")
    assert desk.resolver.asked == []
    assert "policy_unavailable" in ede(message)[0][1]
    assert desk.reasons == ["policy_unavailable"]


@pytest.mark.parametrize("kind", ["TXT", "HTTPS", "SVCB", "MX", "SRV", "CNAME", "ANY"])
def test_other_types_of_an_allowed_name_are_empty(desk: Desk, kind: str) -> None:
    message = desk.ask(devbox("a.test"), "a.test", kind)
    assert (texts(message), message.rcode()) == ([], dns.rcode.NOERROR)
    assert desk.resolver.asked == []
    assert desk.reasons == ["dns_type"]


@pytest.mark.parametrize("kind", ["ANY", "AXFR", "IXFR"])
def test_under_allow_all_whole_zones_are_asked_of_nobody(desk: Desk, kind: str) -> None:
    message = desk.ask(devbox(policy(allow_all=True)), "a.test", kind)
    assert (texts(message), desk.resolver.asked) == ([], [])


def test_under_allow_all_other_types_are_relayed(desk: Desk) -> None:
    asked = dns.message.make_query("A.tEST", "TXT", use_edns=0)
    answer = dns.message.make_response(asked, recursion_available=True)
    answer.answer.append(dns.rrset.from_text("A.tEST.", 9, "IN", "TXT", '"x"'))
    desk.resolver.relayed = answer.to_wire()
    message = desk.ask(devbox(policy(allow_all=True)), "a.test", "TXT")
    assert texts(message) == ['"x"']
    assert desk.reasons == ["allow_all"]


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        pytest.param(PRIVATE, "guardrail_private", id="private"),
        pytest.param("127.0.0.1", "guardrail_loopback", id="loopback"),
        pytest.param("169.254.169.254", "guardrail_metadata", id="metadata"),
        pytest.param("198.51.100.2", "guardrail_host", id="the machine"),
        pytest.param("100.127.0.5", "guardrail_host", id="another devbox"),
        pytest.param("0.0.0.0", "guardrail_reserved", id="zero"),
        pytest.param("224.0.0.251", "guardrail_multicast", id="multicast"),
        pytest.param("::ffff:10.20.0.10", "guardrail_reserved", id="mapped"),
        pytest.param("64:ff9b::a9fe:a9fe", "guardrail_metadata", id="NAT64"),
    ],
)
@pytest.mark.parametrize("what", ["a.test", "all"])
def test_an_answer_that_rebinds_is_emptied(
    address: str, reason: str, what: str
) -> None:
    desk = Desk()
    desk.services = services(
        desk.clock,
        desk.resolver,
        records=desk.records,
        own_networks=(ip_network("100.127.0.0/16"),),
    )
    desk.answerer = DnsAnswerer(desk.services, desk.clock)
    desk.resolver.add("a.test", address)
    box = devbox(policy(allow_all=True) if what == "all" else what)
    message = desk.ask(box, "a.test", "AAAA" if ":" in address else "A")
    assert texts(message) == []
    assert ede(message)[0][0] == 17
    assert desk.reasons == [reason]
    assert len(box.lookups) == 0


def test_of_a_mixed_answer_the_good_half_is_given(desk: Desk) -> None:
    desk.resolver.add("a.test", PRIVATE, GOOD)
    box = devbox("a.test")
    assert texts(desk.ask(box, "a.test")) == [GOOD]
    assert box.lookups.names(ip_address(PRIVATE)) == ()


def test_a_private_address_is_given_where_a_port_of_it_is_allowed(desk: Desk) -> None:
    desk.resolver.add("a.test", PRIVATE)
    box = devbox(policy("a.test", allowed_cidrs=[CIDR]))
    assert texts(desk.ask(box, "a.test")) == [PRIVATE]


def test_a_private_address_is_given_where_the_operator_opened_it(desk: Desk) -> None:
    desk.resolver.add("a.test", PRIVATE)
    box = devbox("a.test", guardrails=Guardrails.parse(("10.0.0.0/8",), ()))
    assert texts(desk.ask(box, "a.test")) == [PRIVATE]


def test_the_names_of_a_chain_do_not_become_allowed(desk: Desk) -> None:
    records = (
        Record("a.test", QType.CNAME, 60, "cdn.d.test"),
        Record("cdn.d.test", QType.A, 60, ip_address("203.0.113.14")),
    )
    desk.resolver.table["a.test", QType.A] = Answer(Rcode.NOERROR, records, 60, False)
    box = devbox("a.test")
    message = desk.ask(box, "a.test")
    assert [rrset.name.to_text() for rrset in message.answer] == [
        "a.test.",
        "cdn.d.test.",
    ]
    assert box.lookups.names(ip_address("203.0.113.14")) == (Hostname("a.test"),)
    assert ede(desk.ask(box, "cdn.d.test"))[0][0] == 15


def test_a_name_that_does_not_exist_does_not_exist(desk: Desk) -> None:
    desk.resolver.add("nx.test", rcode=Rcode.NXDOMAIN)
    message = desk.ask(devbox("nx.test"), "nx.test")
    assert message.rcode() == dns.rcode.NXDOMAIN
    assert desk.reasons == ["allowed_hostname"]


def test_a_failing_resolver_is_told_and_recorded(desk: Desk) -> None:
    message = desk.ask(devbox("gone.test"), "gone.test")
    assert message.rcode() == dns.rcode.SERVFAIL
    assert ede(message) == [(22, "no answer")]
    assert (desk.records[0].error, desk.records[0].verdict) == ("no answer", "allow")


def test_questions_beyond_the_limit_are_refused_and_the_cache_is_free() -> None:
    desk = Desk()
    limits = QuestionLimits(
        questions=Bucket(0.001, 1.0), new_names=Bucket(1e6, 1e6), max_in_flight=9
    )
    box = devbox("a.test b.test", questions=limits)
    assert texts(desk.ask(box, "a.test")) == [GOOD]
    message = desk.ask(box, "b.test")
    assert message.rcode() == dns.rcode.REFUSED
    assert desk.reasons[-1] == Reason.TOO_MANY_QUESTIONS
    assert texts(desk.ask(box, "a.test")) == [GOOD]
    assert ("b.test", QType.A) not in desk.resolver.asked
    assert limits.in_flight == 0


def test_what_does_not_fit_is_truncated_and_comes_whole_over_tcp(desk: Desk) -> None:
    desk.resolver.add("a.test", *(f"203.0.113.{n}" for n in range(1, 65)))
    box = devbox("a.test")
    short = desk.ask(box, "a.test", edns=-1)
    assert short.flags & dns.flags.TC
    assert texts(short) == []
    assert len(texts(desk.ask(box, "a.test", edns=-1, max_size=65_535))) == 64


def test_the_same_message_again_is_answered_at_once_and_counted(desk: Desk) -> None:
    box = devbox("a.test")
    message = dns.message.make_query("a.test", "A", use_edns=0).to_wire()
    first = run(desk.answerer.answer(box, message))
    assert first is not None
    assert desk.answerer.answer_at_once(box, message[2:]) == first[2:]
    desk.services.log.flush_questions()
    assert [record.count for record in desk.records] == [2]
    desk.clock.now += 1.1
    assert desk.answerer.answer_at_once(box, message[2:]) is None


def test_a_ready_answer_ends_with_the_policy(desk: Desk) -> None:
    box = devbox("a.test")
    message = dns.message.make_query("a.test", "A", use_edns=0).to_wire()
    run(desk.answerer.answer(box, message))
    box.apply(push("b.test", 2))
    assert desk.answerer.answer_at_once(box, message[2:]) is None


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("-a.test", id="a leading hyphen"),
        pytest.param("10.0.0.1", id="an address"),
        pytest.param(".", id="the root"),
    ],
)
def test_what_is_no_host_name_does_not_exist(desk: Desk, name: str) -> None:
    message = desk.ask(devbox(policy(allow_all=True)), name)
    assert message.rcode() in (dns.rcode.NXDOMAIN, dns.rcode.NOERROR, dns.rcode.FORMERR)
    assert texts(message) == []
    assert desk.resolver.asked == []


@pytest.mark.parametrize(
    ("spoil", "rcode"),
    [
        pytest.param(lambda w: w + b"junk", "FORMERR", id="trailing octets"),
        pytest.param(lambda w: w[:4] + b"\0\2" + w[6:], "FORMERR", id="two questions"),
        pytest.param(lambda w: w[:2] + b"\x28" + w[3:], "NOTIMP", id="an update"),
        pytest.param(lambda w: w[:-2] + b"\0\3", "REFUSED", id="class CH"),
    ],
)
def test_what_cannot_be_read_is_refused_and_recorded(
    desk: Desk, spoil, rcode: str
) -> None:
    query = dns.message.make_query("a.test", "A", id=77)
    reply = run(desk.answerer.answer(devbox("a.test"), spoil(query.to_wire())))
    assert reply is not None
    assert len(reply) == 12
    assert reply[:2] == (77).to_bytes(2, "big")
    assert reply[2] & 0x80
    assert dns.rcode.to_text(dns.rcode.Rcode(reply[3] & 15)) == rcode
    desk.services.log.flush_questions()
    assert desk.reasons == ["dns_unparseable"]


@pytest.mark.parametrize("message", [b"", b"\0" * 11, b"\0\0\x80" + b"\0" * 9])
def test_what_is_no_question_gets_no_answer(desk: Desk, message: bytes) -> None:
    assert run(desk.answerer.answer(devbox("a.test"), message)) is None


def test_only_short_questions_are_remembered() -> None:
    desk, box = Desk(), devbox("a.test")
    short = dns.message.make_query("a.test", "A")
    option = dns.edns.GenericOption(
        dns.edns.OptionType.make(65_001), bytes(MAX_REMEMBERED)
    )
    long = dns.message.make_query("a.test", "A", options=[option])
    for query in (short, long):
        wire = query.to_wire()
        answered = run(desk.answerer.answer(box, wire))
        assert answered is not None
        known = desk.answerer.answer_at_once(box, wire[2:])
        assert known == (answered[2:] if query is short else None)
