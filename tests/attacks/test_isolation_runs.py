"""Two commands at once on one machine: the same addresses inside, nothing in common."""

from __future__ import annotations

import json
import subprocess

from tests.attacks import processes
from tests.lab import Lab
from tests.lab.addresses import v4
from tests.lab.stockade import Stockade, read_flows

# Serves on its own address, says which it is, and asks for a name again and again.
SERVE = """
import json, socket, sys, threading, time, urllib.request
listener = socket.create_server(("0.0.0.0", 7777))
def serve():
    while True:
        sock, peer = listener.accept()
        print("heard", peer[0], flush=True)
        sock.close()
threading.Thread(target=serve, daemon=True).start()
probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
probe.connect(("203.0.113.1", 9))
print(probe.getsockname()[0], flush=True)
socket.create_connection(("127.0.0.1", 7777)).close()
time.sleep(60)
"""
ASK = """
import json, socket, sys, urllib.error, urllib.request
def get(name):
    try:
        return urllib.request.urlopen(f"http://{name}/hello", timeout=5).status
    except urllib.error.HTTPError as error:
        return error.code
def knock(host):
    with socket.socket() as sock:
        sock.settimeout(1)
        try:
            sock.connect((host, 7777))
            return "connected"
        except OSError as error:
            return type(error).__name__
own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
own.connect(("203.0.113.1", 9))
print(json.dumps({
    "own": own.getsockname()[0], "a": get("a.test"), "b": get("b.test"),
    "knocks": [knock(host) for host in sys.argv[1:]],
}))
"""


def test_two_runs_share_an_address_and_nothing_else(
    lab: Lab, stockade: Stockade
) -> None:
    """Each run has a gateway of its own, so both devboxes have the same address.

    Each is judged by its own policy, hears only itself, and ends by itself.
    """
    flows = lab.directory / "two-runs.jsonl"
    first = stockade.popen(
        "-q", "--", "python3", "-c", SERVE, policy="a.test", flows=flows,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert first.stdout is not None
    try:
        address = first.stdout.readline().strip()
        assert first.stdout.readline() == "heard 127.0.0.1\n"
        around = (address, "100.127.0.2", "100.127.0.5", v4(66))
        second = stockade.run("--", "python3", "-c", ASK, *around, policy="b.test")
        told = json.loads(second.stdout)
        assert told["own"] == address
        assert (told["a"], told["b"]) == (403, 200)
        assert "connected" not in told["knocks"][:3]
        allowed = stockade.run("--", "python3", "-c", ASK, policy="a.test")
        assert json.loads(allowed.stdout)["a"] == 200
        assert processes.is_alive(first.pid)
        assert not read_flows(flows)
    finally:
        first.terminate()
        rest, _ = first.communicate(timeout=20)
    assert "heard" not in rest
