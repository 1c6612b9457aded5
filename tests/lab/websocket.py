"""Enough of RFC 6455 for a server that echoes every message."""

from __future__ import annotations

from tests.lab.record import Live
from tests.lab.stream import Reader, Stream

_CLOSE = 8
_PING = 9
_PONG = 10


async def echo_messages(stream: Stream, reader: Reader, live: Live) -> None:
    """Echo frames until the client closes; payloads go to the record."""
    while head := await reader.exactly(2):
        opcode, length = head[0] & 0x0F, head[1] & 0x7F
        if length >= 126:
            wide = await reader.exactly(2 if length == 126 else 8)
            length = int.from_bytes(wide or b"", "big")
        mask = await reader.exactly(4) if head[1] & 0x80 else b"\0\0\0\0"
        payload = await reader.exactly(length)
        if mask is None or payload is None:
            break
        payload = bytes(octet ^ mask[i % 4] for i, octet in enumerate(payload))
        live.received(payload)
        answer = frame(_PONG if opcode == _PING else opcode, payload)
        await stream.write(answer)
        live.sent(len(payload))
        if opcode == _CLOSE:
            break
    live.close("eof")


def frame(opcode: int, payload: bytes, mask: bytes = b"") -> bytes:
    """One final frame; clients must give a *mask* of four octets."""
    flag = 0x80 if mask else 0
    if len(payload) < 126:
        head = bytes((0x80 | opcode, flag | len(payload)))
    elif len(payload) < 65_536:
        head = bytes((0x80 | opcode, flag | 126)) + len(payload).to_bytes(2, "big")
    else:
        head = bytes((0x80 | opcode, flag | 127)) + len(payload).to_bytes(8, "big")
    if mask:
        payload = bytes(octet ^ mask[i % 4] for i, octet in enumerate(payload))
    return head + mask + payload
