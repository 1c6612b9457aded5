"""Long transfers: whole when nothing happens, and ended at once when something does."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
from collections.abc import Iterator

import pytest

from tests.attacks import processes
from tests.attacks.inside import run_inside
from tests.lab import Lab
from tests.lab.record import Entry
from tests.lab.stockade import Stockade, read_flows

MEGABYTE = 1_000_000
FILL = b"0123456789abcdef" * 4096

TRANSFER = """
import hashlib, http.client, ssl
def fill(count):
    while count > 0:
        piece = b"0123456789abcdef" * 4096
        yield piece[:count]
        count -= len(piece)
def drain(sock):
    digest, count = hashlib.sha256(), 0
    while data := sock.recv(1 << 18):
        digest.update(data)
        count += len(data)
    return [count, digest.hexdigest()]
def connect(name, port, wrap=False):
    sock = socket.create_connection((name, port), timeout=20)
    if wrap:
        context = ssl.create_default_context()
        sock = context.wrap_socket(sock, server_hostname=name)
    return sock
def down(name, port, wrap, count):
    with connect(name, port, wrap) as sock:
        sock.sendall(b"BYTES %d\\n" % count)
        if not wrap:
            sock.shutdown(socket.SHUT_WR)
        return drain(sock)
def up(name, port, wrap, count):
    with connect(name, port, wrap) as sock:
        sock.sendall(b"SINK\\n")
        for piece in fill(count):
            sock.sendall(piece)
        sock.shutdown(socket.SHUT_WR)
        return sock.makefile().readline().split()
def post(name, chunked, count):
    connection = http.client.HTTPConnection(name, timeout=20)
    headers = {} if chunked else {"Content-Length": str(count)}
    connection.request("POST", "/sha256", fill(count), headers, encode_chunked=chunked)
    answer = connection.getresponse()
    return [answer.status, *answer.read().decode().split()]
result = {
    "down": tried(down, "a.test", 7000, False, given),
    "up": tried(up, "a.test", 7000, False, given),
    "tls": tried(down, "a.test", 443, True, given),
    "post": tried(post, "a.test", False, given),
    "chunked": tried(post, "a.test", True, given),
}
"""


def digest(count: int) -> str:
    """The SHA-256 of *count* octets of the lab's pattern."""
    whole, rest = divmod(count, len(FILL))
    found = hashlib.sha256()
    for _ in range(whole):
        found.update(FILL)
    found.update(FILL[:rest])
    return found.hexdigest()


@pytest.mark.parametrize("policy", ["a.test", "all"])
def test_transfers_arrive_whole_and_half_closed_ones_go_on(
    stockade: Stockade, policy: str
) -> None:
    """A client that has ended its direction still reads; a server sees all of a body.

    Each way the octets can take through the gateway, with their digests.
    """
    count = 40 * MEGABYTE + 12_345
    report = run_inside(stockade, TRANSFER, policy=policy, arguments=count)
    said = {kind: answer["said"] for kind, answer in report.value.items()}
    expected = digest(count)
    assert said == {
        "down": [count, expected],
        "up": [str(count), expected],
        "tls": [count, expected],
        "post": [200, str(count), expected],
        "chunked": [200, str(count), expected],
    }
    moved = [flow for flow in report.run.flows if flow["kind"] != "dns"]
    assert {flow["verdict"] for flow in moved} == {"allow"}
    assert len(moved) == len(said)
    for flow in moved:
        assert max(flow["bytes_up"], flow["bytes_down"]) >= count
        assert flow["error"] is None


#: Uploads and downloads without end, each begun again when it breaks.
ENDLESS = """
import socket, threading, time
def forever(first, up):
    while True:
        try:
            sock = socket.create_connection(("a.test", 7000), timeout=5)
            sock.sendall(first)
            while sock.send(b"x" * 65536) if up else sock.recv(65536):
                time.sleep(0.002)
        except OSError:
            pass
        time.sleep(0.1)
threading.Thread(target=forever, args=(b"SINK\\n", True), daemon=True).start()
forever(b"BYTES 99000000000\\n", False)
"""


@pytest.fixture
def transferring(lab: Lab, stockade: Stockade) -> Iterator[subprocess.Popen[bytes]]:
    """A devbox in the middle of an upload and a download."""
    flows = lab.directory / "transfer.jsonl"
    flows.unlink(missing_ok=True)
    mark = lab.mark()
    process = stockade.popen(
        "-q", "--", "python3", "-c", ENDLESS, policy="a.test", flows=flows,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        lab.wait_for(lambda entry: entry.bytes_in > MEGABYTE, 20, since=mark)
        lab.wait_for(lambda entry: entry.bytes_out > MEGABYTE, 20, since=mark)
        processes.wait_until(lambda: bool(read_flows(flows)), "record")
        devbox = read_flows(flows)[0]["devbox"]
        yield process
    finally:
        process.terminate()
        process.wait(20)

    def left() -> list[str]:  # Its own only: other tests run beside this one.
        places = processes.devboxes() | processes.control_groups()
        return [place for place in places if devbox in place]

    processes.wait_until(lambda: not left(), f"end of {devbox}")


def transfers(lab: Lab) -> list[Entry]:
    """The transfers that the lab knows of, as they are now."""
    lab.sync()
    return [e for e in lab.record if (e.kind, e.port) == ("tcp", 7000)]


def all_ended(lab: Lab, wanted: list[Entry]) -> bool:
    ids = {entry.id for entry in wanted}
    return all(entry.closed for entry in transfers(lab) if entry.id in ids)


def test_a_killed_gateway_ends_its_transfers_and_the_next_one_takes_over(
    lab: Lab, transferring: subprocess.Popen[bytes]
) -> None:
    """`kill -9` in the middle of it: both sides see the end, the record says why.

    The devbox connects again through the next gateway, without having done anything.
    """
    broken = [entry for entry in transfers(lab) if not entry.closed]
    assert len(broken) == 2
    os.kill(processes.gateway_of(transferring.pid), signal.SIGKILL)
    processes.wait_until(lambda: all_ended(lab, broken), "end of the transfers")
    last = max(entry.id for entry in broken)
    lab.wait_for(lambda entry: entry.id > last and entry.bytes_in > MEGABYTE, 10)
    lab.wait_for(lambda entry: entry.id > last and entry.bytes_out > MEGABYTE, 10)
    transferring.terminate()
    transferring.wait(20)
    flows = read_flows(lab.directory / "transfer.jsonl")
    ended = [flow for flow in flows if flow["error"] == "the gateway ended"]
    assert [(flow["name"], flow["verdict"]) for flow in ended] == [
        ("a.test", "allow")
    ] * 2
    assert {flow["verdict"] for flow in flows} == {"allow"}


@pytest.mark.parametrize("victim", ["stockade", "devbox"])
def test_what_was_killed_moves_nothing_any_more(
    lab: Lab, transferring: subprocess.Popen[bytes], victim: str
) -> None:
    """`kill -9` of the command, or of the devbox's first process, in the middle of it.

    The connections end, and none is made again; what was there is taken away.
    """
    open_now = [entry for entry in transfers(lab) if not entry.closed]
    pid = transferring.pid
    gateway, init = processes.gateway_of(pid), processes.init_of(pid)
    os.kill(pid if victim == "stockade" else init, signal.SIGKILL)
    processes.wait_until(lambda: all_ended(lab, open_now), "end of the transfers")
    for number in (gateway, init):
        processes.wait_until(lambda n=number: not processes.is_alive(n), "end")  # type: ignore[misc]
    transferring.wait(20)
    mark = lab.mark()
    assert all_ended(lab, transfers(lab))
    assert lab.since(mark) == ()
