"""Lookups: what a devbox was told, the latest first, within bounds."""

from __future__ import annotations

from ipaddress import ip_address

from stockade.names import Hostname
from stockade.policy.lookups import LookupTable

A, B, C = (Hostname(f"{letter}.test") for letter in "abc")
ONE, TWO, THREE = (ip_address(f"203.0.113.{number}") for number in (1, 2, 3))


def test_an_address_nobody_was_told_has_no_names() -> None:
    assert LookupTable().names(ONE) == ()


def test_the_latest_name_of_an_address_comes_first() -> None:
    table = LookupTable()
    for name in (A, B, C, A):
        table.record(name, ONE)
    assert table.names(ONE) == (A, C, B)
    assert len(table) == 1


def test_the_oldest_address_is_forgotten_first() -> None:
    table = LookupTable(max_addresses=2)
    table.record(A, ONE)
    table.record(A, TWO)
    table.record(B, ONE)  # Used again: no longer the oldest.
    table.record(A, THREE)
    assert table.names(ONE) == (B, A)
    assert table.names(TWO) == ()
    assert len(table) == 2


def test_the_oldest_name_of_an_address_is_forgotten_first() -> None:
    table = LookupTable(max_names=2)
    for name in (A, B, A, C):
        table.record(name, ONE)
    assert table.names(ONE) == (C, A)


def test_a_mapped_address_is_another_address() -> None:
    table = LookupTable()
    table.record(A, ip_address("203.0.113.1"))
    assert table.names(ip_address("::ffff:203.0.113.1")) == ()
