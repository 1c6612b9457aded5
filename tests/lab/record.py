"""What the servers saw: typed entries, on both sides of the control channel.

The server process holds `Live` entries that grow while a connection lasts; the test
holds frozen `Entry` snapshots of them, made anew by each `Lab.sync`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Self

# Of each connection or datagram that many first octets are kept.
PREFIX: Final = 4096


class Kind(StrEnum):
    """What an entry is about."""

    DNS = "dns"  # one question
    TCP = "tcp"  # one accepted connection, from the first octet on
    TLS = "tls"  # a ClientHello that OpenSSL accepted
    HTTP = "http"  # one request
    WS = "ws"  # one WebSocket message
    UDP = "udp"  # one datagram


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing a server of the lab saw, as it stood at the last `Lab.sync`.

    *name* is the name the client gave: question, SNI or Host, letter case as sent.
    *address* and *port* are where the client meant to go. *data* are the first octets.
    *closed* is empty while the connection lasts, then `eof` or `reset`. *side* is
    `inet`, or `host` for a service of the machine that stockade runs on.
    """

    id: int
    time: float
    kind: Kind
    side: str
    name: str
    address: str
    port: int
    peer: str
    data: bytes
    bytes_in: int
    bytes_out: int
    closed: str
    detail: Mapping[str, object]

    @classmethod
    def from_mapping(cls, raw: Mapping[str, object]) -> Self:
        """Read what `Live.to_mapping` wrote."""
        values = dict(raw)
        values["kind"] = Kind(str(raw["kind"]))
        values["data"] = bytes.fromhex(str(raw["data"]))
        return cls(**values)  # type: ignore[arg-type]

    def is_about(
        self,
        *,
        kind: str | None = None,
        address: str | None = None,
        port: int | None = None,
        name: str | None = None,
        side: str | None = None,
    ) -> bool:
        """Whether all that is asked for agrees; names compare as DNS compares them."""
        return (
            kind in (None, self.kind)
            and address in (None, self.address)
            and port in (None, self.port)
            and side in (None, self.side)
            and (name is None or _folded(name) == _folded(self.name))
        )


def _folded(name: str) -> str:
    return name.lower().rstrip(".")


@dataclass(slots=True, eq=False)
class Live:
    """An entry that may still grow, in the server process."""

    record: Record
    id: int
    kind: Kind
    side: str
    address: str
    port: int
    peer: str
    name: str = ""
    data: bytes = b""
    bytes_in: int = 0
    bytes_out: int = 0
    closed: str = ""
    time: float = field(default_factory=time.time)
    detail: dict[str, object] = field(default_factory=dict)

    def received(self, data: bytes) -> None:
        """Note octets from the client."""
        if len(self.data) < PREFIX:
            self.data += data[: PREFIX - len(self.data)]
        self.bytes_in += len(data)
        self.touch()

    def sent(self, count: int) -> None:
        """Note octets that the kernel took for the client."""
        self.bytes_out += count
        self.touch()

    def close(self, how: str) -> None:
        """Note how the connection ended; the first that ends it is remembered."""
        self.closed = self.closed or how
        self.touch()

    def touch(self) -> None:
        """Send this entry again at the next sync."""
        self.record.dirty[self.id] = self
        self.record.changed.set()

    def to_mapping(self) -> dict[str, object]:
        """As plain values, for the control channel."""
        names = (
            *("id", "time", "kind", "side", "name", "address", "port", "peer"),
            *("bytes_in", "bytes_out", "closed", "detail"),
        )
        return {
            "data": self.data.hex(),
            **{name: getattr(self, name) for name in names},
        }


class Record:
    """All entries of one server process; the test is its only reader."""

    def __init__(self) -> None:
        self.dirty: dict[int, Live] = {}
        self.changed = asyncio.Event()
        self._next = 0

    def add(
        self, kind: Kind, side: str, local: tuple[str, int], peer: tuple[str, int]
    ) -> Live:
        """Begin an entry."""
        self._next += 1
        live = Live(
            self,
            self._next,
            kind,
            side,
            local[0],
            local[1],
            f"{peer[0]} {peer[1]}",
        )
        live.touch()
        return live

    def take(self) -> list[dict[str, object]]:
        """Everything that changed since the last call."""
        taken = [live.to_mapping() for live in self.dirty.values()]
        self.dirty.clear()
        self.changed.clear()
        return taken
