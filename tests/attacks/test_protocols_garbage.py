"""Damaged messages of every protocol that the gateway reads, thousands of them."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import pytest

from tests.attacks.builders import get, hello, question
from tests.attacks.inside import run_inside
from tests.lab.addresses import v4
from tests.lab.stockade import Stockade

A, D, X = v4(10), v4(13), v4(66)
COUNT = int(os.environ.get("TEST_MESSAGES", "600"))

SEND = """
import select
messages = json.load(open("/messages.json"))
address = socket.gethostbyname("a.test")
resolver = open("/etc/resolv.conf").read().split()[1]
def fire(batch):
    socks = []
    for number, (kind, raw) in enumerate(batch):
        raw = bytes.fromhex(raw)
        if kind == "udp":
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.connect((resolver, 53))
        else:
            sock = socket.socket()
            sock.setblocking(False)
            host = address if number % 3 else given[number // 3 % len(given)]
            sock.connect_ex((host, {"tls": 443, "http": 80, "dns": 53}[kind]))
            select.select([], [sock], [], 1)
        try:
            sock.send(raw)
            if number % 2 and kind != "udp":
                sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        socks.append(sock)
    time.sleep(0.1)
    for sock in socks:
        sock.close()
for at in range(0, len(messages), 150):
    fire(messages[at : at + 150])
time.sleep(0.5)
def get(name):
    with socket.create_connection((name, 80), timeout=5) as sock:
        sock.sendall(f"GET /hello HTTP/1.1\\r\\nHost: {name}\\r\\n\\r\\n".encode())
        return sock.recv(1000).decode().split()[1]
result = [tried(get, "a.test")["said"], tried(get, "d.test")["said"]]
"""


def damaged(message: bytes, chance: random.Random) -> bytes:
    """*message* with some octets changed, taken out, doubled, or cut off."""
    raw = bytearray(message)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(raw))
        match chance.randrange(6):
            case 0 | 1:
                raw[at] = chance.choice((0, 0xFF, 10, 13, 32, chance.randrange(256)))
            case 2:
                del raw[at : at + chance.randint(1, 8)]
            case 3:
                raw[at:at] = raw[at : at + chance.randint(1, 40)]
            case 4:
                raw[at:at] = chance.randbytes(chance.randint(1, 8))
            case 5:
                del raw[at:]
        if not raw:
            return b"\0"
    return bytes(raw)


def messages(seed: int) -> list[tuple[str, str]]:
    """Damaged messages, each with the protocol it is sent as."""
    chance = random.Random(seed)
    post = (
        b"POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"5\r\nhello\r\n0\r\n\r\n" + get("a.test")
    )
    upgrade = get("a.test", extra="Connection: Upgrade\r\nUpgrade: websocket\r\n")
    asked = question("a.test")
    whole = {
        "tls": [hello("a.test"), hello("d.test"), hello(None)],
        "http": [get("a.test"), get("d.test"), post, upgrade],
        "udp": [asked, question("d.test", 28), question("x.w.test", 65)],
        "dns": [len(asked).to_bytes(2, "big") + asked],
    }
    kinds = list(whole)
    made = []
    for _ in range(COUNT):
        kind = chance.choice(kinds)
        made.append((kind, damaged(chance.choice(whole[kind]), chance).hex()))
    return made


@pytest.mark.parametrize("seed", [1, 2])
def test_damaged_messages_break_nothing_and_reach_only_what_is_allowed(
    stockade: Stockade, tmp_path: Path, seed: int
) -> None:
    """No message ends the gateway, a task of it, or the judgement of the next one.

    Afterwards the allowed name is answered and the denied one refused, as before.
    """
    file = tmp_path / "messages.json"
    file.write_text(json.dumps(messages(seed)), encoding="ascii")
    report = run_inside(
        stockade,
        SEND,
        policy="a.test *.w.test",
        options=["--mount", f"{file}:/messages.json:ro"],
        arguments=[D, X],
    )
    assert report.value == ["200", "403"]
    assert "Traceback" not in report.run.stderr
    assert "failed" not in report.run.stderr.replace("  failed   ", "")
    assert {key.address for key in report.packets} <= {A, v4(20), v4(53)}
    names = {e.name.lower().rstrip(".") for e in report.run.saw(kind="dns")}
    assert all(name == "a.test" or name.endswith(".w.test") for name in names)
