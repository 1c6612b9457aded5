"""Protocols that carry no name: a lookup has to give one, and nobody has to wait."""

from __future__ import annotations

import pytest

from tests.attacks.builders import hello, resolve, tcp
from tests.attacks.conftest import Attacker
from tests.lab.addresses import v4, v6

SSH, X = v4(22), v4(66)
POLICY = "ssh.test greeting.test silent.test late.test"


@pytest.mark.parametrize("address", ["ssh.test", SSH], ids=["by name", "by address"])
def test_a_server_that_speaks_first_is_not_kept_waiting(
    attack: Attacker, address: str
) -> None:
    """The client waits for the banner; a gateway that waited for the client would hang."""
    outcome = attack(
        POLICY,
        resolve("ssh.test"),
        tcp(address, 22, b"SSH-2.0-probe\r\n", listen_first=True),
    )
    assert bytes.fromhex(outcome.results[1]["greeting"]).startswith(b"SSH-2.0-")
    assert outcome.results[1]["seconds"] < 1.2
    assert outcome.run.saw(kind="tcp", port=22)


@pytest.mark.parametrize("address", [SSH, v6(22)], ids=["IPv4", "IPv6"])
def test_an_address_that_was_not_looked_up_is_denied(
    attack: Attacker, address: str
) -> None:
    """The same server by its bare address: it is the lookup that names it, not the port."""
    outcome = attack(
        "a.test",
        tcp(address, 22, b"SSH-2.0-probe\r\n"),
        tcp(address, 5432, b"\0\0\0\x08"),
    )
    assert outcome.arrived(address) == 0
    assert outcome.got(0).startswith(b"stockade: ")
    assert outcome.results[1]["end"] == "ConnectionResetError"
    assert outcome.reasons(verdict="deny", kind="tcp") == {"address_not_allowed"}
    control = attack(
        "ssh.test", resolve("ssh.test"), tcp(address, 22, b"SSH-2.0-p\r\n")
    )
    assert control.arrived(address) > 0


def test_a_denied_name_is_told_in_the_protocol(attack: Attacker) -> None:
    """ssh to a denied name: one line of text says so, at once; other protocols: a reset."""
    outcome = attack(
        "a.test",
        tcp("ssh.test", 22, b"", listen_first=True),
        tcp("greeting.test", 25, b"EHLO probe\r\n"),
    )
    assert sum(outcome.packets.values()) == 0
    line = bytes.fromhex(outcome.results[0]["greeting"])
    assert line.startswith(b"stockade: ssh.test is not reachable")
    assert outcome.results[0]["seconds"] < 1.5
    assert outcome.results[1]["end"] == "ConnectionResetError"
    assert outcome.reasons(name="greeting.test", kind="tcp") == {"hostname_not_allowed"}


def test_a_client_may_be_silent_for_long(attack: Attacker) -> None:
    """A server that speaks late, to a client that says nothing: no time limit applies."""
    outcome = attack(POLICY, tcp("late.test", 25, b"", listen_first=True, linger=8))
    assert bytes.fromhex(outcome.results[0].get("greeting", ""))


def test_a_client_that_says_nothing_to_a_bare_address_is_reset(
    attack: Attacker,
) -> None:
    """Nothing leads to this address but what the client would say, and it does not."""
    outcome = attack("a.test", tcp(X, 25, linger=6))
    assert outcome.results[0]["end"] == "ConnectionResetError"
    assert outcome.arrived(X) == 0
    assert outcome.reasons(kind="tcp") == {"address_not_allowed"}


def test_after_the_banner_the_client_is_still_judged(attack: Attacker) -> None:
    """The server's greeting has passed; then the client asks for another name in TLS."""
    outcome = attack(
        POLICY, tcp("greeting.test", 25, hello("d.test"), listen_first=True)
    )
    assert bytes.fromhex(outcome.results[0]["greeting"])
    assert not [e for e in outcome.run.saw(kind="tcp", port=25) if e.bytes_in]
    assert outcome.results[0]["end"] == "ConnectionResetError"
    assert outcome.reasons(kind="tls") == {"hostname_not_allowed"}
