"""The lab's servers answer as their names say, and the record says what they saw."""

from __future__ import annotations

import hashlib
import json
import sys

import pytest

from tests.lab import Entry, Lab
from tests.lab.addresses import HOST_EXTRA4, HOST_PRIVATE4, METADATA4, v4, v6

pytestmark = pytest.mark.root


def curl(lab: Lab, *args: str) -> tuple[int, str]:
    done = lab.exec_host(["curl", "-sS", "-m", "5", "--cacert", str(lab.ca_pem), *args])
    return done.returncode, done.stdout


def python(lab: Lab, code: str) -> str:
    """Run a client in the host namespace; *code* finds `dial(address, port)`."""
    prelude = (
        "import socket, sys\n"
        "def dial(*to): return socket.create_connection(to, timeout=5)\n"
    )
    done = lab.exec_host([sys.executable, "-c", prelude + code])
    assert done.returncode == 0, done.stderr
    return done.stdout


def one(entries: tuple[Entry, ...]) -> Entry:
    (entry,) = entries
    return entry


@pytest.mark.parametrize("family", ["-4", "-6"])
@pytest.mark.parametrize("port", [443, 1, 8443, 65_535])
def test_tls_on_any_port_shows_a_certificate_for_the_name_asked(lab, family, port):
    mark = lab.mark()

    status, text = curl(lab, family, f"https://a.test:{port}/where")

    assert status == 0
    about = json.loads(text)
    assert (about["name"], about["server_name"]) == ("a.test", "a.test")
    address = v4(10) if family == "-4" else v6(10)
    tls = one(lab.seen(since=mark, kind="tls", address=address, port=port))
    assert (tls.name, tls.detail["alpn"]) == ("a.test", "http/1.1")
    tcp = one(lab.seen(since=mark, kind="tcp", address=address, port=port))
    assert tcp.data[:2] == b"\x16\x03"
    assert tls.detail["connection"] == tcp.id


def test_one_server_has_both_shared_names(lab):
    mark = lab.mark()

    curl(lab, "--connect-to", "shared-a.test::shared-d.test:", "https://shared-a.test/")
    curl(lab, "-H", "Host: shared-d.test", "https://shared-a.test/")

    tls = lab.seen(since=mark, kind="tls")
    http = lab.seen(since=mark, kind="http")
    assert [entry.name for entry in tls] == ["shared-a.test", "shared-a.test"]
    assert [entry.name for entry in http] == ["shared-a.test", "shared-d.test"]


def test_requests_of_one_connection_are_numbered(lab):
    mark = lab.mark()

    curl(lab, "http://a.test/one", "http://a.test/two")

    entries = lab.seen(since=mark, kind="http", name="A.TEST.")
    assert [entry.detail["request"] for entry in entries] == [1, 2]
    assert [entry.detail["path"] for entry in entries] == ["/one", "/two"]
    assert len({entry.detail["connection"] for entry in entries}) == 1


@pytest.mark.parametrize("coding", ["Content-Length", "Transfer-Encoding: chunked"])
def test_an_upload_is_recorded_by_length_and_digest(lab, coding):
    body = "x" * 300_000
    mark = lab.mark()
    argv = ["curl", "-sS", "--data-binary", "@-", "-H", coding, "http://b.test/sha256"]

    done = lab.exec_host(argv, input=body)

    digest = hashlib.sha256(body.encode()).hexdigest()
    assert done.stdout == f"300000 {digest}\n"
    entry = one(lab.seen(since=mark, kind="http", name="b.test"))
    assert (entry.detail["length"], entry.detail["sha256"]) == (300_000, digest)


@pytest.mark.parametrize("path", ["bytes", "chunked"])
def test_a_download_has_the_length_asked_for(lab, path):
    status, text = curl(lab, f"https://big.test/{path}/1234567")

    assert (status, len(text)) == (0, 1_234_567)


def test_a_redirect_names_another_host(lab):
    status, text = curl(lab, "-L", "https://redirect.test/")

    assert (status, json.loads(text)["name"]) == (0, "d.test")


def test_a_websocket_echoes(lab):
    mark = lab.mark()
    output = python(
        lab,
        "from tests.lab.websocket import frame\n"
        "s = dial('ws.test', 80)\n"
        "s.sendall(b'GET /chat HTTP/1.1\\r\\nHost: ws.test\\r\\n'"
        "b'Upgrade: websocket\\r\\nConnection: Upgrade\\r\\n'"
        "b'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\\r\\n'"
        "b'\\r\\n')\n"
        "head = s.recv(4096)\n"
        "assert b's3pPLMBiTxaQ9kYGzzhZRbK+xOo=' in head, head\n"
        "s.sendall(frame(1, b'hello', b'abcd'))\n"
        "print(s.recv(100)[2:].decode())\n",
    )

    assert output == "hello\n"
    assert one(lab.seen(since=mark, kind="ws", name="ws.test")).data == b"hello"


@pytest.mark.parametrize(
    ("name", "port", "first"),
    [
        ("ssh.test", 22, "SSH-2.0-Lab_1.0\r\n"),
        ("a.test", 22, "SSH-2.0-Lab_1.0\r\n"),
        ("greeting.test", 4000, "220 greeting.test ready\r\n"),
        ("a.test", 587, "220 greeting.test ready\r\n"),
    ],
)
def test_some_servers_speak_first(lab, name, port, first):
    code = f"s = dial({name!r}, {port})\nprint(ascii(s.recv(100).decode()))"

    assert python(lab, code) == ascii(first) + "\n"


def test_a_silent_server_waits_for_its_client(lab):
    mark = lab.mark()
    output = python(
        lab,
        "s = dial('silent.test', 5432)\n"
        "s.settimeout(0.1)\n"
        "try: print(s.recv(10))\n"
        "except TimeoutError: s.sendall(b'ping')\n"
        "s.settimeout(5)\n"
        "print(s.recv(10).decode())\n",
    )

    assert output == "ping\n"
    entry = one(lab.seen(since=mark, kind="tcp", address=v6(23)))
    assert (entry.data, entry.bytes_in, entry.bytes_out) == (b"ping", 4, 4)


def test_half_a_connection_can_be_closed(lab):
    output = python(
        lab,
        "s = dial('sink.test', 9999)\n"
        "s.sendall(b'z' * 100_000)\n"
        "s.shutdown(socket.SHUT_WR)\n"
        "print(s.recv(200).decode(), end='')\n",
    )

    assert output == f"100000 {hashlib.sha256(b'z' * 100_000).hexdigest()}\n"


def test_resets_pass_both_ways(lab):
    mark = lab.mark()
    output = python(
        lab,
        "import struct\n"
        "s = dial('reset.test', 7000)\n"
        "s.sendall(b'x')\n"
        "try: print(s.recv(1))\n"
        "except ConnectionResetError: print('reset')\n"
        "s = dial('a.test', 7001)\n"
        "s.sendall(b'x')\n"
        "s.recv(1)\n"
        "s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))\n"
        "s.close()\n",
    )

    assert output == "reset\n"
    closed = lab.wait_for(lambda e: e.port == 7001 and bool(e.closed), since=mark)
    assert closed.closed == "reset"


def test_a_refused_port_is_refused_and_a_black_hole_is_silent(lab):
    before = lab.packets()
    output = python(
        lab,
        "for name in ('refused.test', 'blackhole.test'):\n"
        "    for family in (socket.AF_INET, socket.AF_INET6):\n"
        "        s = socket.socket(family)\n"
        "        s.settimeout(0.1)\n"
        "        try: s.connect((name, 443))\n"
        "        except OSError as error: print(type(error).__name__)\n",
    )

    refused, silent = "ConnectionRefusedError\n", "TimeoutError\n"
    assert output == refused * 2 + silent * 2
    new = lab.packets() - before
    assert new["tcp", v4(28), 443]
    assert new["tcp", v6(28), 443]


@pytest.mark.parametrize(
    "address", [METADATA4, "10.20.0.10", "1.1.1.1", "172.16.0.10", "100.64.0.10"]
)
def test_addresses_no_devbox_may_reach_do_exist(lab, address):
    mark = lab.mark()

    assert curl(lab, f"http://{address}/latest/meta-data")[0] == 0
    assert one(lab.seen(since=mark, kind="http", address=address)).side == "inet"


@pytest.mark.parametrize("address", ["127.0.0.1", HOST_EXTRA4, HOST_PRIVATE4, "[::1]"])
def test_the_host_has_services_of_its_own(lab, address):
    mark = lab.mark()

    assert curl(lab, f"http://{address}:8080/")[0] == 0
    entry = one(lab.seen(since=mark, kind="http", port=8080, side="host"))
    assert entry.address == address.strip("[]")


def test_any_datagram_is_echoed_from_where_it_was_sent_to(lab):
    mark = lab.mark()
    output = python(
        lab,
        "for to in ('198.18.0.1', 443), ('2001:db8:1::7', 51820), ('127.0.0.1', 161):\n"
        "    family = socket.AF_INET6 if ':' in to[0] else socket.AF_INET\n"
        "    s = socket.socket(family, socket.SOCK_DGRAM)\n"
        "    s.connect(to)\n"
        "    s.settimeout(5)\n"
        "    s.send(b'hello')\n"
        "    print(s.recv(100).decode())\n",
    )

    assert output == "hello\n" * 3
    seen = {(e.side, e.address, e.port) for e in lab.seen(since=mark, kind="udp")}
    assert seen == {
        ("inet", "198.18.0.1", 443),
        ("inet", "2001:db8:1::7", 51_820),
        ("host", "127.0.0.1", 161),
    }


def test_other_protocols_are_counted(lab):
    before = lab.packets()
    python(
        lab,
        "for number in (47, 132, 253):\n"
        "    s = socket.socket(socket.AF_INET, socket.SOCK_RAW, number)\n"
        "    s.sendto(b'payload!' * 4, ('203.0.113.66', 0))\n"
        "s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)\n"
        "s.settimeout(5)\n"
        "s.sendto(bytes.fromhex('0800f7ff00000000'), ('8.8.8.8', 0))\n"
        "assert s.recv(100)[20] == 0  # an echo reply\n",
    )

    new = lab.packets() - before
    assert new["icmp", "8.8.8.8", 0] == 1
    protocols = {key.protocol for key in new if key.address == v4(66)}
    assert protocols == {"gre", "sctp", "253"}
