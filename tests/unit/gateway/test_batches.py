"""Datagrams received and answered in batches."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from stockade.gateway.batches import DatagramBatch

LOOPBACK = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}


@pytest.fixture(params=list(LOOPBACK), ids=["IPv4", "IPv6"])
def server(request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    with socket.socket(request.param, socket.SOCK_DGRAM) as sock:
        sock.bind((LOOPBACK[request.param], 0))
        yield sock


def client_of(server: socket.socket) -> socket.socket:
    sock = socket.socket(server.family, socket.SOCK_DGRAM)
    sock.settimeout(5)
    sock.bind((LOOPBACK[server.family], 0))
    sock.connect(server.getsockname()[:2])
    return sock


def test_each_is_answered_with_its_own_beginning(server: socket.socket) -> None:
    batch = DatagramBatch(server, 4, 64)
    with client_of(server) as first, client_of(server) as second:
        for turn in range(3):  # What was before is not there any more.
            first.send(b"1a" + b"question" * turn)
            second.send(b"2b?")
            own = ip_address(LOOPBACK[server.family]).packed
            assert list(batch.receive()) == [
                (0, own, b"question" * turn),
                (1, own, b"?"),
            ]
            assert batch.message(0) == b"1a" + b"question" * turn
            assert batch.message(1) == b"2b?"
            assert batch.endpoint(0) == first.getsockname()[:2]
            assert batch.answer(0, b" one")
            assert batch.answer(1, b" another")
            batch.send()
            assert first.recv(99) == b"1a one"
            assert second.recv(99) == b"2b another"


def test_some_are_not_answered(server: socket.socket) -> None:
    batch = DatagramBatch(server, 4, 64)
    with client_of(server) as client:
        for number in range(4):
            client.send(f"{number}?".encode())
        assert len(list(batch.receive())) == 4
        assert batch.answer(3, b" last")
        assert batch.answer(1, b" second")
        batch.send()
        assert [client.recv(99), client.recv(99)] == [
            b"3? last"[:1] + b"? last",
            b"1? second",
        ]
        batch.send()
        server.setblocking(False)
        client.setblocking(False)
        with pytest.raises(BlockingIOError):
            client.recv(99)


def test_one_that_cannot_be_sent_does_not_keep_the_others(
    server: socket.socket,
) -> None:
    batch = DatagramBatch(server, 4, 64)
    with client_of(server) as client:
        for number in range(3):
            client.send(f"{number}?".encode())
        assert len(list(batch.receive())) == 3
        batch._names[2:4] = b"\0\0"  # Port 0: nobody can be there.
        for number in range(3):
            assert batch.answer(number, b"!")
        batch.send()
        assert [client.recv(99), client.recv(99)] == [b"1?!", b"2?!"]


def test_nothing_there_and_too_much(server: socket.socket) -> None:
    batch = DatagramBatch(server, 2, 16)
    assert len(list(batch.receive())) == 0
    with client_of(server) as client:
        client.send(b"x" * 40)
        client.send(b"next")
        assert len(list(batch.receive())) == 2
        assert batch.message(0) == b"x" * 16
        assert not batch.answer(0, b"y" * 15)
        assert batch.answer(0, b"y" * 14)
        assert batch.message(1) == b"next"
        batch.send()
        assert client.recv(99) == b"xx" + b"y" * 14
