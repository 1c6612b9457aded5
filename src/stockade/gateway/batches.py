"""Datagrams in batches: `recvmmsg(2)` and `sendmmsg(2)`, which Python has not.

Asked one by one, half of the time of a quick answer goes to entering the kernel and to
writing addresses as text and reading them again.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from collections.abc import Iterator

_libc = ctypes.CDLL(None)


class _Vector(ctypes.Structure):
    """`struct iovec`."""

    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _Message(ctypes.Structure):
    """`struct msghdr`."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("vectors", ctypes.c_void_p),
        ("vector_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Header(ctypes.Structure):
    """`struct mmsghdr`, with the length of what was received."""

    _fields_ = (("message", _Message), ("length", ctypes.c_uint32))


_HEADER = ctypes.sizeof(_Header)
#: In units of four octets.
_LENGTH = _Header.length.offset // 4
_INTS = _HEADER // 4
_NAME = 32  # room for a socket address
#: The packed address in a `sockaddr_in` and in a `sockaddr_in6`, and their sizes.
_SOURCES = {
    socket.AF_INET: (struct.Struct("4x4s"), 16),
    socket.AF_INET6: (struct.Struct("8x16s"), 28),
}


class DatagramBatch:
    """Receives some datagrams of one socket at once, and answers them at once.

    An answer begins with the two octets that its question began with, takes the room of
    the question, and goes to where that came from. What does not fit is not received
    whole. *count* datagrams of at most *size* octets.
    """

    def __init__(self, sock: socket.socket, count: int, size: int) -> None:
        self._fd = sock.fileno()
        self._family = sock.family
        self._count = count
        self._size = size
        self._data = bytearray(count * size)
        self._names = bytearray(count * _NAME)
        self._source, name = _SOURCES[sock.family]
        self._received = (_Header * count)()
        self._sent = (_Header * count)()
        self._vectors = (_Vector * count)()
        self._answers = (_Vector * count)()
        data, names = _address(self._data), _address(self._names)
        for at in range(count):
            begin = data + at * size
            self._vectors[at] = _Vector(begin, size)
            self._answers[at] = _Vector(begin, 0)
            for headers, vectors in (
                (self._received, self._vectors),
                (self._sent, self._answers),
            ):
                vector = ctypes.addressof(vectors) + at * ctypes.sizeof(_Vector)
                headers[at].message = _Message(names + at * _NAME, name, vector, 1)
        # What the kernel writes into is made as it was before each call.
        self._fresh = bytes(memoryview(self._received).cast("B"))
        self._ints = memoryview(self._received).cast("B").cast("I")
        self._lengths = memoryview(self._answers).cast("B").cast("Q")
        # The headers of answers, each to be put where the next free place is, and whose
        # header is there. Most often all are answered, and each is in its own place.
        self._out = memoryview(self._sent).cast("B")
        whole = bytes(self._out)
        self._headers = [whole[n : n + _HEADER] for n in range(0, len(whole), _HEADER)]
        self._placed = list(range(count))
        self._ready = 0

    def receive(self) -> Iterator[tuple[int, bytes, bytes]]:
        """For each datagram that is there: its number, packed source, and octets 2 on.

        Nothing for an error of the socket.
        """
        self._ready = 0
        ctypes.memmove(self._received, self._fresh, len(self._fresh))
        got: int = _libc.recvmmsg(
            self._fd, self._received, self._count, socket.MSG_DONTWAIT, None
        )
        source, data, names = self._source.unpack_from, self._data, self._names
        ints, size = self._ints, self._size
        for at in range(got):
            begin = at * size
            length = ints[at * _INTS + _LENGTH]
            rest = bytes(data[begin + 2 : begin + length])
            yield at, source(names, at * _NAME)[0], rest

    def message(self, at: int) -> bytes:
        """What the datagram of that number says."""
        begin = at * self._size
        return bytes(self._data[begin : begin + self._ints[at * _INTS + _LENGTH]])

    def endpoint(self, at: int) -> tuple[str, int]:
        """The address and port that it came from, to send to."""
        begin = at * _NAME
        port = int.from_bytes(self._names[begin + 2 : begin + 4], "big")
        packed = self._source.unpack_from(self._names, begin)[0]
        return socket.inet_ntop(self._family, packed), port

    def answer(self, at: int, body: bytes) -> bool:
        """Have *body*, behind the first two octets of the question, sent by `send`.

        False if there is no room for it.
        """
        begin = at * self._size + 2
        end = begin + len(body)
        if len(body) > self._size - 2:
            return False
        self._data[begin:end] = body
        self._lengths[at * 2 + 1] = end - begin + 2
        ready = self._ready
        if self._placed[ready] != at:
            self._out[ready * _HEADER : (ready + 1) * _HEADER] = self._headers[at]
            self._placed[ready] = at
        self._ready = ready + 1
        return True

    def send(self) -> None:
        """Send what was answered. What cannot be sent is lost, as datagrams are."""
        done, ready = 0, self._ready
        while done < ready:
            headers = ctypes.byref(self._sent, done * _HEADER)
            sent: int = _libc.sendmmsg(
                self._fd, headers, ready - done, socket.MSG_DONTWAIT
            )
            done += sent if sent > 0 else 1
        self._ready = 0


def _address(room: bytearray) -> int:
    """Where *room* is. It may not change its size as long as that is used."""
    return ctypes.addressof((ctypes.c_char * len(room)).from_buffer(room))
