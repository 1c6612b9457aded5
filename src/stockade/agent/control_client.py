"""The agent's end of a gateway's control connections."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from collections.abc import Callable, Mapping
from typing import Any, Self

from stockade.errors import EnforcementError
from stockade.gateway.settings import MAX_LINE

REPLY_TIMEOUT = 10.0
#: For the last records of a gateway that has ended: they are there already.
END_TIMEOUT = 2.0

_log = logging.getLogger(__name__)


class GatewayGone(EnforcementError):
    """The gateway ended, or does not answer."""


class Quarantined(EnforcementError):
    """The gateway cannot apply a policy: the devbox is denied everything."""


class ControlClient:
    """One control connection: requests, each with its reply.

    Requests may overlap; they are answered in their order. Every method raises
    `GatewayGone` when the gateway ends or does not answer within `REPLY_TIMEOUT`, and
    `EnforcementError` with its words when it refuses.
    """

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._next = 0
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._reading: asyncio.Task[None] | None = None
        self._ended = False

    @property
    def ended(self) -> bool:
        """Whether the gateway has ended the connection."""
        return self._ended

    @classmethod
    async def connect(cls, sock: socket.socket) -> Self:
        """Speak to the gateway at the other end of *sock*; it may still be starting."""
        reader, writer = await asyncio.open_unix_connection(sock=sock, limit=MAX_LINE)
        client = cls(reader, writer)
        client._reading = asyncio.get_running_loop().create_task(client._read())
        return client

    async def request(self, op: str, **fields: Any) -> dict[str, Any]:
        """Send a request and return its reply."""
        if self._ended:
            raise GatewayGone("the gateway ended")
        self._next += 1
        number = self._next
        reply: asyncio.Future[dict[str, Any]] = (
            asyncio.get_running_loop().create_future()
        )
        self._waiting[number] = reply
        try:
            line = json.dumps({"id": number, "op": op, **fields}) + "\n"
            self._writer.write(line.encode("ascii"))
            async with asyncio.timeout(REPLY_TIMEOUT):
                await self._writer.drain()
                answer = await reply
        except TimeoutError:
            raise GatewayGone(
                f"the gateway did not answer {op!r} within {REPLY_TIMEOUT:g} s"
            ) from None
        except OSError as error:
            raise GatewayGone(f"the gateway is gone: {error}") from None
        finally:
            self._waiting.pop(number, None)
        raise_if_refused(op, answer)
        return answer

    async def close(self) -> None:
        """End the connection. Whoever waits for a reply is told that there is none."""
        self._writer.close()
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    async def _read(self) -> None:
        try:
            while line := await self._reader.readline():
                reply = json.loads(line)
                waiting = self._waiting.get(reply.get("id"))
                if waiting is not None and not waiting.done():
                    waiting.set_result(reply)
        except (OSError, ValueError):
            pass  # Told to whoever waits, below.
        finally:
            self._ended = True
            for waiting in tuple(self._waiting.values()):
                if not waiting.done():
                    waiting.set_exception(GatewayGone("the gateway ended"))


def raise_if_refused(op: str, answer: Mapping[str, Any]) -> None:
    """Raise what *answer* says is wrong with the request, if anything is."""
    if answer.get("ok"):
        return
    said = f"the gateway refused {op}: {answer.get('error')}"
    raise (Quarantined if answer.get("quarantined") else EnforcementError)(said)


class RecordStream:
    """The flow records of a gateway, as they are written.

    Calls *on_record* with each one (a plain mapping), and *on_missed* with a number of
    records that could not be had: the gateway had no room for them, or *on_record*
    raised an exception.
    """

    def __init__(
        self,
        on_record: Callable[[dict[str, Any]], None],
        on_missed: Callable[[int], None],
    ) -> None:
        self._on_record = on_record
        self._on_missed = on_missed
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self._flushes: dict[int, asyncio.Future[None]] = {}
        self._next = 0

    @property
    def ended(self) -> bool:
        """Whether no record will come any more."""
        return self._reading is not None and self._reading.done()

    async def start(self, sock: socket.socket) -> None:
        """Subscribe at the gateway at the other end of *sock*."""
        reader, self._writer = await asyncio.open_unix_connection(
            sock=sock, limit=MAX_LINE
        )
        self._writer.write(b'{"id":0,"op":"subscribe"}\n')
        self._reading = asyncio.get_running_loop().create_task(self._read(reader))

    async def flush(self) -> None:
        """Return when every record written until now has been handed over."""
        if self._writer is None or self._reading is None or self._reading.done():
            return
        self._next += 1
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._flushes[self._next] = done
        self._writer.write(json.dumps({"id": self._next}).encode() + b"\n")
        try:
            async with asyncio.timeout(REPLY_TIMEOUT):
                await done
        except TimeoutError:
            pass  # The records that did come are handed over all the same.

    async def stop(self) -> None:
        """End the subscription, having read what a gateway that is gone had written."""
        if self._reading is not None:
            await asyncio.wait({self._reading}, timeout=END_TIMEOUT)
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        if self._writer is not None:
            self._writer.close()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            while line := await reader.readline():
                self._take(json.loads(line))
        except (OSError, ValueError):
            pass  # The gateway is gone; its supervisor starts another.
        finally:
            for done in self._flushes.values():
                if not done.done():
                    done.set_result(None)

    def _take(self, value: dict[str, Any]) -> None:
        if "flushed" in value:
            done = self._flushes.pop(value["flushed"], None)
            if done is not None and not done.done():
                done.set_result(None)
        elif "missed" in value:
            self._on_missed(value["missed"])
        elif "verdict" in value:
            try:
                self._on_record(value)
            except Exception:  # noqa: BLE001 - whatever it is, those to come are wanted
                _log.exception("a flow record could not be taken")
                self._on_missed(1)
