"""Reading what a client says first, within a budget of octets, pieces and time."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence

import pytest

from stockade.gateway.first_bytes import FirstBytes, FirstBytesReader, peek
from stockade.gateway.services import Limits
from stockade.wire.sniff import MAX_SNIFF, Protocol
from tests.attacks.builders import get, hello
from tests.unit.gateway.fakes import run, side

BRIEF = Limits(first_byte_timeout=0.05, sniff_timeout=0.1)
FEW = Limits(sniff_pieces=50)


def read(
    pieces: Sequence[bytes],
    *,
    end: bool = False,
    patient: bool = False,
    gap: float = 0.0,
    limits: Limits = BRIEF,
) -> FirstBytes:
    """What is read of a client that sends *pieces*."""

    async def main() -> FirstBytes:
        ours, client = socket.socketpair()
        with ours, client:
            ours.setblocking(False)
            task = asyncio.get_running_loop().create_task(
                FirstBytesReader(side(ours), limits, patient=patient).read()
            )
            for piece in pieces:
                await asyncio.sleep(gap)
                client.sendall(piece)
            if end:
                client.shutdown(socket.SHUT_WR)
            return await asyncio.wait_for(task, 3)

    return run(main())


@pytest.mark.parametrize(
    ("data", "protocol"),
    [
        pytest.param(hello("a.test"), Protocol.TLS, id="TLS"),
        pytest.param(get("a.test"), Protocol.HTTP, id="HTTP"),
        pytest.param(b"SSH-2.0-x\r\n", Protocol.OPAQUE, id="ssh"),
        pytest.param(b"\0\0\0\x08", Protocol.OPAQUE, id="binary"),
    ],
)
@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_the_protocol_is_found_whatever_the_pieces(
    data: bytes, protocol: Protocol, size: int
) -> None:
    first = read([data[at : at + size] for at in range(0, len(data), size)])
    assert first.problem is None
    assert first.sniffed is not None
    assert first.sniffed.protocol is protocol
    assert data.startswith(first.data)


def test_nothing_within_the_time_is_nothing() -> None:
    assert read([]) == FirstBytes(b"", expired=True)


def test_a_patient_reader_waits_for_the_first_octet() -> None:
    first = read([b"SSH-2.0-x\r\n"], patient=True, gap=0.2)
    assert first.sniffed is not None


def test_a_started_hello_has_to_be_finished_in_time() -> None:
    begun = hello("a.test")[:50]
    for patient in (True, False):
        assert read([begun], patient=patient) == FirstBytes(begun, expired=True)


def test_a_slow_client_does_not_gain_time_by_the_octet() -> None:
    data = hello("a.test")
    first = read([data[at : at + 1] for at in range(12)], gap=0.02)
    assert first.expired
    assert len(first.data) < 12


@pytest.mark.parametrize(
    ("data", "is_opaque"),
    [
        pytest.param(b"", True, id="nothing"),
        pytest.param(b"GET", True, id="a text without a line"),
        pytest.param(b"GET / HTTP/1.1\r\n", False, id="half a head"),
        pytest.param(b"GET /", False, id="half a request line"),
        pytest.param(hello("a.test")[:60], False, id="half a hello"),
    ],
)
def test_an_end_says_what_it_was(data: bytes, is_opaque: bool) -> None:
    first = read([data], end=True)
    assert first.eof
    assert (first.sniffed is not None) is is_opaque
    assert (first.problem is None) is is_opaque


def test_too_many_octets_are_in_doubt() -> None:
    long = b"GET / HTTP/1.1\r\nHost: a.test\r\nX: " + b"x" * (MAX_SNIFF + 10)
    assert read([long]).problem is not None


def test_too_many_pieces_are_in_doubt() -> None:
    data = hello("a.test")
    first = read([data[at : at + 1] for at in range(100)], limits=FEW, gap=1e-6)
    assert first.problem is not None
    assert len(first.data) == FEW.sniff_pieces


def test_a_peek_takes_nothing_and_raises_nothing() -> None:
    ours, client = socket.socketpair()
    with ours, client:
        ours.setblocking(False)
        assert peek(side(ours)) is None
        client.sendall(get("a.test"))
        sniffed = peek(side(ours))
        assert sniffed is not None
        assert sniffed.name == "a.test"
        assert ours.recv(9_999) == get("a.test")
        client.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert peek(side(ours)) is None
