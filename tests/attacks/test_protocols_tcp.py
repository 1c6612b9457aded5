"""What a program may tell its sockets: urgent data, source routes, other ways to open."""

from __future__ import annotations

from tests.attacks.builders import hello
from tests.attacks.inside import run_inside
from tests.lab.addresses import v4, v6
from tests.lab.stockade import Stockade
from tests.lab.witness import matching

A4, X4, X6 = v4(10), v4(66), v6(66)
OPEN = {
    "name": "x",
    "allowed_cidrs": [{"cidr": f"{X4}/32"}, {"cidr": f"{X6}/128"}],
}

URGENT = r"""
def splintered(port, before, urgent, after):
    with socket.create_connection(("a.test", port), timeout=5) as sock:
        sock.settimeout(1.5)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.sendall(bytes.fromhex(before))
        sock.send(bytes.fromhex(urgent), socket.MSG_OOB)
        time.sleep(0.05)
        sock.sendall(bytes.fromhex(after))
        sock.send(b"\n", socket.MSG_OOB)  # What was urgent before is ordinary now.
        sock.shutdown(socket.SHUT_WR)
        return sock.recv(300).decode("latin-1")
result = [tried(splintered, *item)["said"] for item in given]
"""


def _splinters(data: bytes, name: bytes) -> list[tuple[str, str, str]]:
    """*data* with one urgent octet before, in and after a name in it."""
    at = data.index(name)
    places = (at, at + 1, at + len(name), at + len(name) + 1)
    return [(data[:i].hex(), b"x".hex(), data[i:].hex()) for i in places]


def test_urgent_data_hides_no_name(stockade: Stockade) -> None:
    """A reader of a stream may or may not see its urgent octets, one octet at a time.

    What the gateway judges is what the server gets: no name but the allowed one arrives.
    The same without the urgent octet is answered.
    """
    request = b"GET /hello HTTP/1.1\r\nHost: a.test\r\n\r\n"
    denied = request.replace(b"a.test", b"d.test")
    cases = [
        *((80, *case) for case in _splinters(denied, b"d.test")),
        *((443, *case) for case in _splinters(hello("d.test"), b"d.test")),
        *((80, *case) for case in _splinters(request, b"a.test")),
        *((443, *case) for case in _splinters(hello("a.test"), b"a.test")),
        (80, "", b"G".hex(), request.hex()),
        (80, request.hex(), b"x".hex(), ""),
    ]
    report = run_inside(stockade, URGENT, policy="a.test", arguments=cases)
    assert report.value[-1].startswith("HTTP/1.1 200")
    names = {e.name for e in report.run.seen if e.kind in ("http", "tls") and e.name}
    assert names == {"a.test"}


STREAM = r"""
import threading
sock = socket.create_connection((given, 7000), timeout=10)
sock.settimeout(10)
got = bytearray()
def read():
    while data := sock.recv(65536):
        got.extend(data)
reader = threading.Thread(target=read)
reader.start()
sock.sendall(bytes(1))
for _ in range(8):
    sock.sendall(b"x" * 500_000)
    sock.send(b"!", socket.MSG_OOB)
    sock.sendall(b"y" * 10)
    time.sleep(0.02)
deadline = time.monotonic() + 10
while got.count(b"y") < 80 and time.monotonic() < deadline:
    time.sleep(0.01)
before_the_end = got.count(b"y")
sock.shutdown(socket.SHUT_WR)
reader.join()
result = [before_the_end, got.count(b"x"), got.count(b"y")]
"""


def test_urgent_data_stops_no_stream(stockade: Stockade) -> None:
    """`splice` never gets past an urgent octet: the rest of the stream would be lost.

    By name and by address; all that is not urgent is there while the connection is open.
    """
    for target, policy in (("a.test", "a.test"), (X4, OPEN)):
        report = run_inside(stockade, STREAM, policy=policy, arguments=target)
        assert report.value == [80, 4_000_000, 80]


# Each way to open a connection to X, as root inside; what is answered to "secret".
WAYS = f"""
import concurrent.futures
A4, X4, X6 = {(A4, X4, X6)!r}
IP, IP6, TCP, SOL = 0, 41, 6, 1
def route(kind):  # first hop A, last X, as a loose or strict source route
    return bytes([kind, 7, 4]) + socket.inet_aton(A4) + b"\\0"
def header(kind):  # a routing header to X by way of A
    hop = socket.inet_pton(10, {v6(10)!r})
    return bytes([0, 2, kind, 1, 0, 0, 0, 0]) + hop
PORT = 7777
plain = (socket.SOCK_STREAM, 0)
datagram = (socket.SOCK_DGRAM, 0)
ways = {{
    "plain": (X4, plain), "plain, IPv6": (X6, plain), "UDP": (X4, datagram),
    "UDP, IPv6": (X6, datagram),
    "multipath": (X4, (1, 262)), "multipath, IPv6": (X6, (1, 262)),
    "UDP-Lite": (X4, (2, 136)), "DCCP": (X4, (6, 33)), "L2TP": (X4, (2, 115)),
    "loose route": (X4, plain, (IP, 4, route(131))),
    "strict route": (X4, plain, (IP, 4, route(137))),
    "loose route, UDP": (X4, datagram, (IP, 4, route(131))),
    "route recorded": (X4, plain, (IP, 4, bytes([7, 7, 4, 0, 0, 0, 0, 0]))),
    "time recorded": (X4, datagram, (IP, 4, bytes([68, 8, 5, 0, 0, 0, 0, 0]))),
    "router alert": (X4, datagram, (IP, 4, bytes([148, 4, 0, 0]))),
    **{{f"routing header {{k}}": (X6, k_, (IP6, 57, header(k)))
       for k in (0, 2, 3, 4) for k_ in (plain, datagram)}},
    "one hop": (X4, plain, (IP, 2, 1)), "one hop, IPv6": (X6, plain, (IP6, 16, 1)),
    "one hop, UDP": (X4, datagram, (IP, 2, 1)),
    "no routing": (X4, plain, (SOL, 5, 1)), "no checksum": (X4, datagram, (SOL, 11, 1)),
    "no checksum, IPv6": (X6, datagram, (17, 101, 1)),
    "by eth0": (X4, plain, (SOL, 25, b"eth0\\0")),
    "by lo": (X4, plain, (SOL, 25, b"lo\\0")),
    "by index 1": (X4, plain, (SOL, 62, 1)), "interface 1": (X4, plain, (IP, 50, 1 << 24)),
    "foreign source": (X4, plain, (IP, 15, 1)), "transparent": (X4, plain, (IP, 19, 1)),
    "marked": (X4, plain, (SOL, 36, 1)), "priority": (X4, plain, (SOL, 12, 6)),
    "fast open": (X4, plain, (TCP, 30, 1)), "repair": (X4, plain, (TCP, 19, 1)),
    "scheduled": (X4, plain, (SOL, 61, struct.pack("iI", 1, 0))),
    "segments": (X4, datagram, (17, 103, 3)), "corked": (X4, plain, (TCP, 3, 1)),
    "own header": (X4, datagram, (IP, 3, 1)), "encapsulated": (X4, datagram, (17, 100, 2)),
}}
def go(host, how, option=None, source=0):
    with socket.socket(10 if ":" in host else 2, *how) as sock:
        sock.settimeout(1)
        if option:
            sock.setsockopt(*option)
        if source:
            sock.bind(("", source))
        sock.connect((host, PORT))
        sock.sendall(b"secret")
        if how[0] == 1:
            sock.shutdown(socket.SHUT_WR)
        return sock.recv(100).decode()
def fast(host, data):
    with socket.socket(10 if ":" in host else 2) as sock:
        sock.sendto(data, socket.MSG_FASTOPEN, (host, PORT))
        sock.settimeout(1)
        sock.shutdown(socket.SHUT_WR)
        return sock.recv(100).decode()
def empty(host):
    with socket.socket(10 if ":" in host else 2, socket.SOCK_DGRAM) as sock:
        sock.settimeout(1)
        sock.connect((host, PORT))
        sock.send(b"")
        return "secret" if sock.recv(100) == b"" else "more"
probes = {{name: (go, *way) for name, way in ways.items()}}
probes |= {{f"from {{p}}": (go, X4, plain, None, p) for p in (22, 53, 80, 443, 15001)}}
probes |= {{f"UDP from {{p}}": (go, X4, datagram, None, p) for p in (53, 67, 443)}}
probes |= {{f"data in the SYN, {{host}}": (fast, host, b"secret") for host in (X4, X6)}}
probes |= {{f"nothing in it, {{host}}": (empty, host) for host in (X4, X6)}}
with concurrent.futures.ThreadPoolExecutor(8) as pool:
    said = pool.map(lambda probe: tried(*probe)["said"], probes.values())
    result = dict(zip(probes, said))
"""
#: These are ordinary to the network, so that a rule for the address lets them pass.
ORDINARY = {
    *("plain", "plain, IPv6", "UDP", "UDP, IPv6", "one hop", "one hop, IPv6"),
    *("one hop, UDP", "by eth0", "corked", "no checksum", "fast open", "from 443"),
    *("UDP from 53", f"data in the SYN, {X4}", f"data in the SYN, {X6}"),
    *(f"nothing in it, {X4}", f"nothing in it, {X6}"),
}


def test_no_option_of_a_socket_leads_elsewhere(stockade: Stockade) -> None:
    """Source routes, routing headers, devices, marks, privileged ports, early data.

    None of them gets anything to an address that is not allowed. Where it is, what is
    ordinary passes, and nothing leaves that is neither TCP nor UDP.
    """
    denied = run_inside(stockade, WAYS, policy="a.test", timeout=120)
    assert "secret" not in denied.value.values()
    assert matching(denied.packets, address=X4) == 0
    assert matching(denied.packets, address=X6) == 0
    assert not denied.run.saw(kind="udp")
    assert not [e for e in denied.run.saw(kind="tcp") if e.bytes_in]
    control = run_inside(stockade, WAYS, policy=OPEN, timeout=120)
    passed = {name for name, said in control.value.items() if said == "secret"}
    assert passed >= ORDINARY
    assert {key.protocol for key in control.packets} == {"tcp", "udp"}
    assert {key.address for key in control.packets} == {X4, X6}


EVERY = f"""
opened = set()
for family, host in ((2, {X4!r}), (10, {X6!r})):
    for kind in (1, 2, 3, 4, 5, 6, 10):
        for protocol in range(264):
            try:
                sock = socket.socket(family, kind | socket.SOCK_NONBLOCK, protocol)
            except OSError:
                continue
            opened.add((kind, protocol))
            with sock:
                tried(sock.connect, (host, 7000 + kind))
                time.sleep(0.05)
                tried(sock.send, b"secret")
                tried(sock.sendto, b"secret", (host, 7000 + kind))
                time.sleep(0.05)
result = sorted(opened)
"""


def test_of_all_kinds_of_sockets_only_tcp_and_udp_reach_anything(
    stockade: Stockade,
) -> None:
    """Every type with every protocol number: SCTP, UDP-Lite, DCCP, whatever there is.

    Under `allow_all`, whatever can be opened: nothing but TCP and UDP arrives.
    """
    report = run_inside(stockade, EVERY, policy="all", timeout=120)
    opened = {tuple(pair) for pair in report.value}
    assert opened >= {(1, 0), (1, 6), (2, 0), (2, 17)}
    assert opened <= {
        *((1, 0), (1, 6), (1, 262), (2, 0), (2, 17), (2, 136)),
        *((2, 1), (2, 58), (6, 0), (6, 33), (2, 115)),
    }
    assert matching(report.packets, address=X4, protocol="tcp", port=7001)
    assert matching(report.packets, address=X6, protocol="udp", port=7002)
    assert {key.protocol for key in report.packets} == {"tcp", "udp"}
