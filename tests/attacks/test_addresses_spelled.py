"""Addresses in every spelling: to connect to, as Host, as target, as server name."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_address

import pytest

from tests.attacks.builders import Step, get, hello, tcp
from tests.attacks.casework import each
from tests.attacks.conftest import Attacker
from tests.attacks.hellos import edited, naming
from tests.lab.addresses import HOST4, HOST6, METADATA4, v4, v6

A, X = v4(10), v4(66)
POLICY = "a.test"
OF_A = {
    "name": "a",
    "allowed_hostnames": ["a.test"],
    "allowed_cidrs": [{"cidr": f"{A}/32"}],
}


def spellings(address: str) -> list[str]:
    """An IPv4 address as `inet_aton`, browsers and IPv6 sockets take it."""
    number = int(IPv4Address(address))
    a, b, c, d = number.to_bytes(4, "big")
    return [
        *(address, str(number), hex(number), hex(number).upper().replace("X", "x")),
        *(oct(number).replace("o", ""), f"0{a:o}.0{b:o}.0{c:o}.0{d:o}"),
        *(f"{a:#x}.{b:#x}.{c:#x}.{d:#x}", f"{a}.{b:#x}.0{c:o}.{d}"),
        *(f"{a}.{number & 0xFFFFFF}", f"{a}.{b}.{c << 8 | d}", f"000{a:o}.{b}.{c}.{d}"),
        *(f"::ffff:{address}", f"::ffff:{number >> 16:x}:{number & 0xFFFF:x}"),
        *(f"0:0:0:0:0:FFFF:{address}", f"0000::ffff:{address}"),
    ]


def long_form(address: str) -> list[str]:
    """An IPv6 address, and the same written out."""
    return [address, ip_address(address).exploded, ip_address(address).exploded.upper()]


def knocks(hosts: list[str], port: int = 8080) -> list[Step]:
    """A request without a Host that anybody allows, to each of *hosts*."""
    return [tcp(host, port, get("x.test"), half_close=True) for host in hosts]


def test_an_address_is_denied_however_it_is_spelled(attack: Attacker) -> None:
    """What `inet_aton` and IPv6 sockets make of numbers: the same address, denied."""
    hosts = [*spellings(X), *long_form(v6(66))]
    denied = attack(POLICY, *knocks(hosts), *knocks(hosts, 80))
    assert denied.arrived(X) == denied.arrived(v6(66)) == 0
    assert not denied.run.saw(kind="tcp")
    control = attack("all", *knocks(hosts))
    assert len(control.run.saw(kind="tcp", address=X)) == len(spellings(X))
    assert len(control.run.saw(kind="tcp", address=v6(66))) == 3


GUARDED = [
    *spellings(METADATA4),
    *("169.254.170.2", "100.100.100.200", "168.63.129.16", "192.0.0.192"),
    *("fd00:ec2::254", "fd00:ec2:0::23", "fd20:ce::254", "64:ff9b::a9fe:a9fe"),
    *("64:ff9b::169.254.169.254", "2002:a9fe:a9fe::1", "::169.254.169.254"),
    *spellings(HOST4),
    *(HOST6, f"64:ff9b::{HOST4}", "2002:c633:6402::1", "10.20.0.10", "64:ff9b::a14:a"),
    *("0.0.0.1", "224.0.0.1", "255.255.255.255", "240.0.0.1", "192.168.1.10"),
    *("fe80::1%eth0", "fe80::1", "ff02::1%eth0", "fec0::1", "64:ff9b:1::a9fe:a9fe"),
    *("::ffff:0:169.254.169.254", "fd53:746f:636b::", "100.127.0.0", "100.126.0.1"),
]


def test_what_is_guarded_is_guarded_however_it_is_spelled(attack: Attacker) -> None:
    """Under `allow_all`: metadata, the machine, private and reserved ranges.

    As IPv4 in every spelling, mapped, compatible, translated (NAT64, 6to4), with zones.
    """
    outcome = attack("all", *knocks([*GUARDED, X, v6(66)]), timeout=120)
    seen = {entry.address for entry in outcome.run.saw(kind="tcp")}
    assert seen == {X, v6(66)}
    knocked = {key.address for key in outcome.packets if key.port == 8080}
    assert knocked == {X, v6(66)}


HOSTS = [
    *(host for host in spellings(X) if ":" not in host),
    *(f"[{host}]" for host in [*spellings(X), v6(66), "::1", "::", "fe80::1%25eth0"]),
    *spellings(A)[:9],
    *(f"[{host}]" for host in spellings(A) if ":" in host),
    *(f"{X}.", f"{X}..", f"{A}.", f".{A}", f"{A}:80", f"{X}:80", f"{A}:", f"[{A}]"),
    *(v6(66), "::1", f"::ffff:{X}", f"[{v6(66)}", f"{v6(66)}]", f"[[{v6(66)}]]"),
    *(f"[{v6(66)}%eth0]", f"[{v6(66)}]x", f"[{v6(66)}]:80", f"[v1.{v6(66)}]", "[]"),
    *("0", "0x0", "127.1", "127.0.0.1", "localhost", "1", "256.1.1.1", "1.2.3.4.5"),
    *("0x", "a.0x", "a.test.1", "x.0x7f", "x.08", "4294967296", "-1", "1e9"),
]


def test_no_host_that_is_an_address_is_allowed(attack: Attacker) -> None:
    """A server that takes a number for a host would be asked for another one.

    To the address of an allowed name, after it was looked up. The same requests pass
    where the address itself is allowed, since there no name is read.
    """
    cases = {f"host {host}": get(host) for host in HOSTS}
    for host in HOSTS:
        line = f"GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n"
        cases[f"target {host}"] = line.encode()
        cases[f"mixed {host}"] = line.replace(f"Host: {host}", "Host: a.test").encode()
    denied = each(attack, POLICY, A, cases, lookups="a.test")
    assert denied.arrived() == set()
    control = each(attack, OF_A, A, cases)
    assert control.arrived() == set(cases)


def test_no_server_name_that_is_an_address_is_allowed(attack: Attacker) -> None:
    """RFC 6066 has no addresses in the SNI; some clients put them there, in any form."""
    cases = {host: edited("a.test", naming(host.encode())) for host in HOSTS}
    denied = each(attack, POLICY, A, cases, lookups="a.test")
    assert denied.arrived() == set()
    control = each(attack, OF_A, A, cases)
    assert control.arrived() == set(cases)


@pytest.mark.parametrize("number", [66, 10], ids=["another's", "its own"])
def test_an_address_that_nobody_looked_up_is_denied_to_what_has_no_name(
    attack: Attacker, number: int
) -> None:
    """TLS without SNI, ssh, silence: even the allowed host's own address, unasked for."""
    cases = {
        "tls": hello(None),
        "ssh": b"SSH-2.0-probe\r\n",
        "text": b"EHLO a.test\r\n",
        "octets": b"\0\1\2\3",
        "nothing": b"",
    }
    for address in (v4(number), v6(number)):
        denied = each(attack, POLICY, address, cases)
        assert not denied.outcome.run.saw(kind="tcp")
        for case in cases:
            assert denied.denials(case) == {"address_not_allowed"}, case
    control = each(attack, POLICY, A, cases, lookups="a.test")
    assert len(control.outcome.run.saw(kind="tcp", address=A)) == len(cases)
