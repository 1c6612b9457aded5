"""The record is complete when `sync` returns, and keeps up with what lasts."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.lab import Kind
from tests.lab.addresses import v4
from tests.lab.stockade import to_toml
from tests.lab.witness import matching

pytestmark = pytest.mark.root

# A client that sends and does not wait: the only thing that orders it before the record
# is `sync`.
BURST = """
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for number in range(500):
    s.sendto(b"%d" % number, ("203.0.113.66", 1000 + number))
for _ in range(50):
    s = socket.socket()
    s.connect(("203.0.113.66", 80))
    s.sendall(b"never an answer to this")
"""

TALK = """
import socket, sys
s = socket.create_connection(("a.test", 5000))
for line in sys.stdin:
    s.sendall(line.encode())
    print(s.recv(100).decode(), end="", flush=True)
"""


def test_all_that_left_before_a_sync_is_in_the_record(lab):
    for _ in range(5):
        mark, before = lab.mark(), lab.packets()
        lab.exec_host([sys.executable, "-c", BURST])

        seen = lab.seen(since=mark, address=v4(66))
        assert len([e for e in seen if e.kind is Kind.UDP]) == 500
        texts = [e.data for e in seen if e.kind is Kind.TCP]
        assert texts == [b"never an answer to this"] * 50
        assert matching(lab.packets() - before, address=v4(66), protocol="udp") == 500


def test_an_entry_grows_while_its_connection_lasts(lab):
    mark = lab.mark()
    talk = lab.popen_host(
        [sys.executable, "-c", TALK],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    sizes = []
    for _ in range(3):
        talk.stdin.write("four\n")
        talk.stdin.flush()
        talk.stdout.readline()
        (entry,) = lab.seen(since=mark, kind="tcp", port=5000)
        sizes.append((entry.bytes_in, entry.bytes_out, entry.closed))
    talk.communicate(timeout=5)
    (entry,) = lab.seen(since=mark, kind="tcp", port=5000)

    assert sizes == [(5, 5, ""), (10, 10, ""), (15, 15, "")]
    assert (entry.bytes_in, entry.closed) == (15, "eof")


def test_waiting_ends_as_soon_as_it_is_seen(lab):
    mark = lab.mark()
    later = "sleep 0.2; echo -n now > /dev/udp/203.0.113.66/1"
    with lab.popen_host(["bash", "-c", later]):
        entry = lab.wait_for(lambda e: e.kind is Kind.UDP, since=mark)

    assert entry.data == b"now"


def test_waiting_for_what_does_not_come_is_an_error(lab):
    mark = lab.mark()

    with pytest.raises(TimeoutError):
        lab.wait_for(lambda e: e.kind is Kind.UDP, timeout=0.2, since=mark)


def test_a_link_at_rest_is_silent(lab):
    before = lab.packets()
    with pytest.raises(TimeoutError):
        lab.wait_for(lambda _: False, timeout=0.3)

    assert lab.packets() - before == {}


def test_a_policy_is_written_as_toml():
    policy = {
        "name": 'a "b"',
        "allow_all": False,
        "allowed_hostnames": ["a.test"],
        "allowed_cidrs": [{"cidr": "10.0.0.0/8", "ports": [{"port": 1}]}],
    }

    assert to_toml(policy) == (
        'name = "a \\"b\\""\n'
        "allow_all = false\n"
        'allowed_hostnames = ["a.test"]\n'
        'allowed_cidrs = [{ cidr = "10.0.0.0/8", ports = [{ port = 1 }] }]\n'
    )
