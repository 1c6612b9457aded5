"""ClientHellos in pieces: over records, over segments, in every size."""

from __future__ import annotations

import pytest

from tests.attacks.builders import as_records, hello, split, tcp
from tests.attacks.conftest import Attacker
from tests.lab.addresses import v4

A = v4(10)
POLICY = "a.test"


@pytest.mark.parametrize("size", [100, 32, 8, 1])
def test_records_hide_no_name(attack: Attacker, size: int) -> None:
    """The ClientHello is cut into many TLS records, sent to an allowed address.

    A gateway that reads the first record only would see no name and might let it pass.
    """
    outcome = attack(POLICY, tcp(A, 443, as_records(hello("d.test")[5:], size)))
    assert not outcome.run.saw(kind="tls", name="d.test")
    assert outcome.reasons(verdict="allow", kind="tls") == set()
    control = attack("d.test", tcp(A, 443, as_records(hello("d.test")[5:], 100)))
    assert control.run.saw(kind="tls", name="d.test")


@pytest.mark.parametrize(
    ("size", "gap"), [(1, 0.0), (40, 0.2)], ids=["an octet each", "slowly"]
)
def test_segments_hide_no_name(attack: Attacker, size: int, gap: float) -> None:
    """The same hello over many small segments; the allowed name must still pass."""
    denied = attack(POLICY, tcp(A, 443, *split(hello("d.test"), size), gap=gap))
    assert not denied.run.saw(kind="tls", name="d.test")
    allowed = attack(POLICY, tcp(A, 443, *split(hello("a.test"), size), gap=gap))
    assert allowed.run.saw(kind="tls", name="a.test")


@pytest.mark.parametrize("padding", [1_300, 4_000, 15_000])
def test_large_hellos_are_read_to_the_end(attack: Attacker, padding: int) -> None:
    """Post-quantum hellos span segments: the name counts wherever it stands."""
    outcome = attack(
        POLICY,
        tcp(A, 443, hello("a.test", padding=padding)),
        tcp(A, 443, hello("d.test", padding=padding)),
    )
    assert outcome.run.saw(kind="tls", name="a.test")
    assert not outcome.run.saw(kind="tls", name="d.test")


def test_too_large_a_hello_is_denied_with_its_reason(attack: Attacker) -> None:
    """More than 16 KiB is no hello that anybody sends; doubt is no permission."""
    outcome = attack(POLICY, tcp(A, 443, hello("a.test", padding=16_300)))
    assert not outcome.run.saw(kind="tls")
    assert outcome.reasons(kind="tls") == {"tls_unparseable"}


@pytest.mark.parametrize(
    "start",
    [b"\x16\x03\x01\x00\x00", b"\x16\x03\x01\x00\x05\x0e\x00\x00\x01\x00"],
    ids=["an empty record", "another message first"],
)
def test_a_damaged_hello_is_denied(attack: Attacker, start: bytes) -> None:
    """What some TLS stack might skip, before a hello with a denied name."""
    outcome = attack(POLICY, tcp(A, 443, start + hello("d.test")))
    assert not outcome.run.saw(kind="tls")
    assert outcome.reasons(kind="tls") == {"tls_unparseable"}
