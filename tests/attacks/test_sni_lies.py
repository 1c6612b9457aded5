"""TLS connections that say one name and go to another place."""

from __future__ import annotations

import pytest

from tests.attacks.builders import ALERT_ACCESS_DENIED, hello, resolve, tcp
from tests.attacks.conftest import Attacker
from tests.lab.addresses import v4, v6

A, D, X = v4(10), v4(13), v4(66)
SHARED = v4(30)
POLICY = "a.test *.w.test shared-a.test"


@pytest.mark.parametrize("port", [443, 8443, 22, 5432, 1, 65535])
def test_a_denied_name_is_denied_on_every_port(attack: Attacker, port: int) -> None:
    """The client connects to the denied host by its address, with its name in the SNI.

    The name decides, so it gets an alert and the host sees no packet, on any port.
    """
    outcome = attack(POLICY, tcp(D, port, hello("d.test")))
    assert outcome.arrived(D) == 0
    assert not outcome.run.seen
    assert outcome.results[0]["end"] in ("eof", "ConnectionResetError")
    control = attack("d.test", tcp(D, port, hello("d.test")))
    assert control.arrived(D) > 0
    assert control.run.saw(kind="tls", name="d.test", port=port) or port == 22


def test_a_denied_name_gets_a_typed_alert_and_is_on_record(attack: Attacker) -> None:
    """The client is told `access_denied` at once, and the record says which name."""
    outcome = attack(POLICY, tcp(D, 443, hello("d.test")))
    assert outcome.got(0) == ALERT_ACCESS_DENIED
    assert outcome.results[0]["seconds"] < 1.5
    assert outcome.reasons(kind="tls", name="d.test") == {"hostname_not_allowed"}


@pytest.mark.parametrize("address", [X, v6(66)], ids=["IPv4", "IPv6"])
def test_an_allowed_name_with_the_attackers_address_goes_to_the_name(
    attack: Attacker, address: str
) -> None:
    """`curl --connect-to`: the SNI is allowed, the address is the attacker's.

    The gateway dials the name, so the real host answers and the attacker sees nothing.
    """
    outcome = attack(POLICY, tcp(address, 443, hello("a.test")))
    assert outcome.arrived(X) == outcome.arrived(v6(66)) == 0
    seen = outcome.run.saw(kind="tls", name="a.test")
    assert {entry.address for entry in seen} <= {A, v6(10)}
    assert seen
    control = attack("all", tcp(address, 443, hello("a.test")))
    assert control.arrived(address) > 0


def test_a_shared_address_serves_only_the_allowed_name(attack: Attacker) -> None:
    """Two names live on one address; the allowed one was looked up, the other is asked for.

    That the address is known changes nothing: the name in the SNI decides.
    """
    outcome = attack(
        POLICY,
        resolve("shared-a.test"),
        tcp(SHARED, 443, hello("shared-d.test")),
        tcp(SHARED, 443, hello("shared-a.test")),
    )
    assert not outcome.run.saw(kind="tls", name="shared-d.test")
    assert outcome.run.saw(kind="tls", name="shared-a.test")
    assert outcome.got(1) == ALERT_ACCESS_DENIED
    control = attack("shared-d.test", tcp(SHARED, 443, hello("shared-d.test")))
    assert control.run.saw(kind="tls", name="shared-d.test")


@pytest.mark.parametrize("address", [X, v6(66)], ids=["IPv4", "IPv6"])
def test_an_address_without_a_name_is_denied(attack: Attacker, address: str) -> None:
    """TLS to a bare address, without SNI: nothing vouches for it, on 443 or elsewhere."""
    outcome = attack(
        POLICY,
        tcp(address, 443, hello(None)),
        tcp(address, 8443, hello(None)),
        tcp(address, 443, b"\x00\x01 no TLS at all"),
    )
    assert outcome.arrived(address) == 0
    assert outcome.reasons(port=443, kind="tls") == {"tls_without_name"}
    assert outcome.reasons(port=8443) == {"address_not_allowed"}
    wide = {
        "name": "x",
        "allowed_cidrs": [{"cidr": f"{X}/32"}, {"cidr": f"{v6(66)}/128"}],
    }
    control = attack(wide, tcp(address, 443, hello(None)))
    assert control.arrived(address) > 0


@pytest.mark.parametrize(
    "name",
    ["d.test.", "D.TEST", "nota.test", "w.test", "xw.test", "a.test.x.test", "x.test"],
)
def test_spellings_of_other_names_are_denied(attack: Attacker, name: str) -> None:
    """A final dot, capitals, a name that ends or begins like an allowed one."""
    outcome = attack(POLICY, tcp(X, 443, hello(name)))
    assert not outcome.run.saw(kind="tls")
    assert outcome.arrived(X) == 0
    assert outcome.got(0) == ALERT_ACCESS_DENIED


@pytest.mark.parametrize("name", ["A.TEST", "a.test.", "x.w.test", "x.y.W.test"])
def test_spellings_of_allowed_names_are_allowed(attack: Attacker, name: str) -> None:
    """The control of the above: case and a final dot make no other name."""
    outcome = attack(POLICY, tcp(X, 443, hello(name)))
    assert outcome.run.saw(kind="tls")
