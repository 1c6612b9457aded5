"""The lab's resolver: answers, odd answers, lies, and a record of every question."""

from __future__ import annotations

import pytest

from tests.lab import Behaviour, Lab
from tests.lab.addresses import HOST4, RESOLVER6, ROTATING4, v4, v6

pytestmark = pytest.mark.root


def dig(lab: Lab, *args: str) -> list[str]:
    argv = ["dig", "+tries=1", "+time=1", "+short", *args]
    return lab.exec_host(argv).stdout.splitlines()


def status(lab: Lab, *args: str) -> str:
    text = lab.exec_host(["dig", "+tries=1", "+time=1", *args]).stdout
    return text.partition("status: ")[2].partition(",")[0]


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (("a.test",), [v4(10)]),
        (("a.test", "AAAA"), [v6(10)]),
        (("A.tEsT",), [v4(10)]),
        (("any.thing.w.test",), [v4(20)]),
        (("w.test",), [v4(66)]),
        (("v6only.test",), []),
        (("v6only.test", "AAAA"), [v6(40)]),
        (("cname.test",), [f"cname-{n}.test." for n in (1, 2, 3)] + [v4(43)]),
        (("cname-to-private.test",), ["private.test.", "10.20.0.10"]),
        (("loop.test",), ["loop-1.test.", "loop.test."]),
        (("metadata.test",), ["169.254.169.254"]),
        (("hostaddr.test",), [HOST4]),
        (("mixed.test",), [v4(45), "10.20.0.10"]),
        (("tcponly.test",), [v4(52)]),
        (("txt.test", "TXT"), ['"a payload for the devbox"']),
        (("a.test", "MX"), []),
        (("a.test", "@8.8.8.8"), [v4(10)]),
        (("a.test", f"@{RESOLVER6}", "+tcp"), [v4(10)]),
        (("a.test", "@127.0.0.1"), [v4(10)]),
    ],
)
def test_answers(lab, args, expected):
    # A server may give addresses in any order; a chain has only one.
    assert sorted(dig(lab, *args)) == sorted(expected)


def test_a_long_chain_is_given_whole(lab):
    assert len(dig(lab, "long-chain.test")) == 21


def test_https_records_carry_hints_and_keys(lab):
    (text,) = dig(lab, "https-rr.test", "HTTPS")

    assert v4(66) in text
    assert "ech=" in text


def test_rotation_gives_another_address_each_time(lab):
    given = [dig(lab, "rotating.test")[0] for _ in range(3)]

    assert len(set(given)) == 3
    assert set(given) <= set(ROTATING4)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.test", "NOERROR"),
        ("nx.test", "NXDOMAIN"),
        ("unknown.example", "NXDOMAIN"),
        ("dangling.test", "NXDOMAIN"),
        ("servfail.test", "SERVFAIL"),
        ("dnsrefused.test", "REFUSED"),
        ("liar.test", ""),
    ],
)
def test_status(lab, name, expected):
    assert status(lab, name, "+nocookie") == expected


def test_questions_are_recorded_as_they_came(lab):
    mark = lab.mark()
    dig(lab, "+subnet=198.51.100.0/24", "+nocookie", "A.Test", "AAAA")
    dig(lab, "+tcp", "+noedns", "b.test")

    udp, tcp = lab.seen(since=mark, kind="dns")
    assert (udp.name, udp.detail["qtype"]) == ("A.Test", "AAAA")
    assert udp.detail["transport"] == "udp"
    assert [number for number, _ in udp.detail["options"]] == [8]
    assert udp.peer.split()[0] == HOST4
    assert udp.detail["id"] == int.from_bytes(udp.data[:2], "big")
    assert (tcp.detail["transport"], tcp.detail["edns"]) == ("tcp", -1)


def test_a_message_that_is_no_question_is_recorded(lab):
    mark = lab.mark()
    code = "echo -n xyzxyzxyzxyzxyz > /dev/udp/9.9.9.9/53"
    lab.exec_host(["bash", "-c", code])

    (entry,) = lab.seen(since=mark, kind="dns", address="9.9.9.9")
    assert entry.data == b"xyzxyzxyzxyzxyz"
    assert "error" in entry.detail


def test_names_can_change_while_it_runs(lab):
    lab.set_name("moving.example", a=["203.0.113.77"], ttl=1)
    first = dig(lab, "moving.example")
    lab.set_name("moving.example", a=["203.0.113.78"], behaviour=Behaviour.ROTATE)
    second = dig(lab, "moving.example")
    lab.remove_name("moving.example")

    assert (first, second) == (["203.0.113.77"], ["203.0.113.78"])
    assert status(lab, "moving.example") == "NXDOMAIN"


def test_programs_of_the_host_use_this_resolver(lab):
    done = lab.exec_host(["getent", "ahostsv4", "cname.test"])

    assert done.stdout.split()[0] == v4(43)
