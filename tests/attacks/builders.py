"""Bytes that attackers send, and the steps that send them from inside a devbox."""

from __future__ import annotations

import ssl
from collections.abc import Sequence

ALERT_ACCESS_DENIED = bytes.fromhex("15030300020231")

Step = dict[str, object]


def hello(server_name: str | None, *, padding: int = 0) -> bytes:
    """A ClientHello as OpenSSL makes it, grown by *padding* octets."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname=server_name)
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        pass
    record = outgoing.read()
    return as_records(_padded(record[5:], padding)) if padding else record


def as_records(handshake: bytes, size: int = 16_384) -> bytes:
    """A handshake message in TLS records of at most *size* octets each."""
    parts = (handshake[at : at + size] for at in range(0, len(handshake), size))
    return b"".join(b"\x16\x03\x01" + len(p).to_bytes(2, "big") + p for p in parts)


def split(data: bytes, size: int) -> list[bytes]:
    """*data* in pieces of *size* octets."""
    return [data[at : at + size] for at in range(0, len(data), size)]


def _padded(handshake: bytes, padding: int) -> bytes:
    """The same ClientHello with a reserved extension (RFC 8701) at its end."""
    body = bytearray(handshake[4:])
    at = 2 + 32
    at += 1 + body[at]
    at += 2 + int.from_bytes(body[at : at + 2], "big")
    at += 1 + body[at]
    extensions = int.from_bytes(body[at : at + 2], "big") + 4 + padding
    body[at : at + 2] = extensions.to_bytes(2, "big")
    body += bytes.fromhex("fafa") + padding.to_bytes(2, "big") + bytes(padding)
    return handshake[:1] + len(body).to_bytes(3, "big") + bytes(body)


def get(host: str, path: str = "/", *, extra: str = "", version: str = "1.1") -> bytes:
    """A plain request."""
    return f"GET {path} HTTP/{version}\r\nHost: {host}\r\n{extra}\r\n".encode("latin-1")


def tcp(host: str, port: int, *pieces: bytes, **options: object) -> Step:
    """Connect, send *pieces*, read the answer."""
    return {
        "op": "tcp",
        "host": host,
        "port": port,
        "pieces": [piece.hex() for piece in pieces],
        **options,
    }


def udp(host: str, port: int, data: bytes, **options: object) -> Step:
    """Send a datagram and wait for what comes."""
    return {"op": "udp", "host": host, "port": port, "data": data.hex(), **options}


def resolve(name: str, family: int = 0) -> Step:
    """Ask for the addresses of *name*, as every program does."""
    return {"op": "resolve", "name": name, "family": family}


def dns(server: str, message: bytes, *, stream: bool = False) -> Step:
    """Send a DNS message to *server*."""
    return {"op": "dns", "server": server, "message": message.hex(), "stream": stream}


def question(
    name: str | Sequence[bytes], qtype: int = 1, *, flags: int = 0x100
) -> bytes:
    """A DNS query; a name may be given as raw labels."""
    labels = (
        [part.encode() for part in name.split(".") if part]
        if isinstance(name, str)
        else list(name)
    )
    encoded = b"".join(bytes((len(label),)) + label for label in labels) + b"\0"
    header = (0x1234).to_bytes(2, "big") + flags.to_bytes(2, "big")
    counts = bytes.fromhex("0001000000000001")
    opt = bytes.fromhex("00002904d0000000000000")
    return header + counts + encoded + qtype.to_bytes(2, "big") + b"\0\1" + opt
