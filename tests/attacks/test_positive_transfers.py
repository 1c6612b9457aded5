"""What is allowed arrives whole: large, long, half-closed, both ways at once.

The controls of the whole suite: a gateway that broke these would be secure, too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.lab.stockade import Run, Stockade

PROBES = Path(__file__).with_name("probes")
NAMES = ("a.test", "big.test", "ws.test")
BY_NAME = " ".join(NAMES)
BY_ADDRESS = {
    "name": "ranges",
    "allowed_cidrs": [{"cidr": "203.0.113.0/24"}, {"cidr": "2001:db8::/64"}],
}
LARGE, SMALLER = 64 * 1024**2, 8 * 1024**2
FILL = b"0123456789abcdef" * 4096


def transfer(
    stockade: Stockade,
    policy: str | Mapping[str, Any],
    *,
    family: int = 4,
    by_address: bool = False,
    size: int = SMALLER,
) -> tuple[dict[str, Any], Run]:
    """Do every transfer in one devbox."""
    lab = stockade.lab
    address = lab.v4 if family == 4 else lab.v6
    targets = {name: address(name) for name in NAMES} if by_address else {}
    given = {"targets": targets, "family": family, "size": size}
    run = stockade.run(
        *("--mount", f"{PROBES}:/probes:ro", "--"),
        *("python3", "/probes/transfers.py"),
        policy=policy,
        input=json.dumps(given),
        timeout=180,
    )
    assert run.returncode == 0, run.stderr
    told = json.loads(run.stdout)
    print(family, by_address, told["seconds"])
    return told["results"], run


def filled(count: int) -> list[object]:
    """Length and digest of what the lab's servers send."""
    digest = hashlib.sha256()
    for _ in range(count // len(FILL)):
        digest.update(FILL)
    digest.update(FILL[: count % len(FILL)])
    return [count, digest.hexdigest()]


def check(told: dict[str, Any], run: Run, size: int) -> None:
    """Whether every transfer arrived whole, at both ends."""
    body = told["body"]
    assert told["half-close"] == told["half-close, http"] == told["tls"] == filled(size)
    assert told["upload"] == body
    assert told["both ways"][0] == size + 1
    piece = bytes(range(256)) * (size // 256)
    assert told["both ways"][1] == hashlib.sha256(b"\0" + piece).hexdigest()
    assert told["slow reader"] == filled(4_000_000)
    assert told["keep-alive"] == [[200, True]]
    assert told["pipelined"] == 100
    assert told["many at once"] == 20
    assert told["chunked answer"] == 3_000_000
    interim, answered, sent = told["multipart by hand"]
    assert (interim, answered) == ("100", sent)
    assert told["post, asked for"] == told["post, not asked for"] == [body, body]
    assert told["chunked"] == [body, body]
    status, messages = told["websocket"]
    assert status == "101"
    assert [opcode for opcode, _, _ in messages] == [2, 2, 2, 2, 2, 10, 8]
    assert all(whole for _, whole, _ in messages)
    check_forms(told, run)


def check_forms(told: dict[str, Any], run: Run) -> None:
    """curl chooses the boundary, so the server's count is compared with curl's."""
    forms = {
        f"{entry.detail['length']} {entry.detail['sha256']}\n": entry
        for entry in run.saw(kind="http", name="a.test")
    }
    for answer in (*told["form"], told["form, not asked for"]):
        detail = forms[answer].detail
        headers = {key.lower(): value for key, value in detail["headers"]}  # type: ignore[attr-defined]
        assert int(headers["content-length"]) == detail["length"]
    requests = [entry.detail["request"] for entry in run.saw(kind="http")]
    assert 1000 in requests


@pytest.mark.parametrize("family", [4, 6], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("by_address", [False, True], ids=["by name", "by range"])
def test_every_transfer_arrives_whole(
    stockade: Stockade, family: int, *, by_address: bool
) -> None:
    """Half-close, 64 MiB, 13 MiB forms, a thousand requests, WebSockets, slow readers."""
    size = LARGE if family == 4 and not by_address else SMALLER
    policy = BY_ADDRESS if by_address else BY_NAME
    told, run = transfer(
        stockade, policy, family=family, by_address=by_address, size=size
    )
    check(told, run, size)
    assert {flow["verdict"] for flow in run.flows} == {"allow"}
    assert "Traceback" not in run.stderr
    sent = [flow for flow in run.flows if flow["bytes_up"] > 13 * 1024**2]
    assert len(sent) >= 8  # As many large uploads are on record with their sizes.


@pytest.mark.parametrize("by_address", [False, True], ids=["by name", "by range"])
def test_under_another_policy_none_of_them_begins(
    stockade: Stockade, *, by_address: bool
) -> None:
    """The same transfers, another name and another range: nothing arrives at all."""
    before = stockade.lab.packets()
    policy = {
        "name": "other",
        "allowed_hostnames": ["b.test"],
        "allowed_cidrs": [{"cidr": "203.0.113.11/32"}],
    }
    told, run = transfer(stockade, policy, by_address=by_address)
    assert not run.seen
    assert sum((stockade.lab.packets() - before).values()) == 0
    assert "a.test" not in str(told["keep-alive"])
    assert {flow["verdict"] for flow in run.flows} == {"deny"}
