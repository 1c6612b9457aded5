"""What an ordinary program does, under a policy that allows it. Nothing is attacked here.

The control of the mutation check: a Stockade that lacks one layer has to do all this as
the whole one does, or it would prove nothing.
"""

from __future__ import annotations

import pytest

from tests.attacks.builders import dns, get, hello, question, resolve, tcp, udp
from tests.attacks.conftest import Attacker
from tests.lab.addresses import v4, v6

A = v4(10)


@pytest.mark.parametrize("policy", ["a.test ssh.test", "all"])
def test_what_is_allowed_works(attack: Attacker, policy: str) -> None:
    """DNS, HTTP, TLS, ssh, an opaque protocol and datagrams, to names that are allowed."""
    outcome = attack(
        policy,
        resolve("a.test", 2),
        resolve("ssh.test", 2),
        dns("100.127.0.2", question("a.test", 28)),
        tcp(A, 80, get("a.test", "/hello"), half_close=True),
        tcp(A, 443, hello("a.test")),
        tcp(v4(22), 22, b"SSH-2.0-test\r\n", listen_first=True),
        tcp(A, 7000, b"\0 opaque"),
        udp(A, 7777, b"ping"),
    )
    address, ssh, answer, http, tls, banner, opaque, datagram = outcome.results
    assert address["addresses"] == [A]
    assert ssh["addresses"] == [v4(22)]
    assert bytes.fromhex("20010db8") in bytes.fromhex(answer["got"]), v6(10)
    assert b"hello from a.test" in bytes.fromhex(http["got"])
    assert bytes.fromhex(tls["got"])[:1] == b"\x16"
    assert bytes.fromhex(banner["greeting"]).startswith(b"SSH-")
    assert bytes.fromhex(opaque["got"]) == b"\0 opaque"
    assert bytes.fromhex(datagram["got"]) == b"ping"
