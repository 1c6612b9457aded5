"""Control connections: how the host agent attaches devboxes and pushes policies.

One JSON object a line, each request answered by one reply with the same `id`:

    {"id": 7, "op": "update", "devboxes": ["dbx_…"], "push": {…}}
    {"id": 7, "ok": true, "devboxes": {"dbx_…": {"ok": true, "generation": 3,
                                                 "digest": "…", "cut": 2}}}
    {"id": 8, "ok": false, "error": "…"}

`push` is {policy_id, generation, digest, policy}. The reply to a push is sent when it is
in force, and says of each devbox how many flows that cut. A push that cannot be read
puts its devboxes in quarantine: everything is denied, and the reply says so. After
`subscribe` the connection carries flow records, one a line, instead.
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_address
from typing import Any

from stockade.errors import InvalidRequest, StockadeError
from stockade.gateway.devboxes import AttachedDevbox
from stockade.gateway.record_stream import RecordStream
from stockade.gateway.services import Services
from stockade.gateway.settings import MAX_LINE
from stockade.names import Hostname
from stockade.policy.decide import CompiledPolicy
from stockade.spec import PolicyPush

#: Pushes that are kept, ready to be put in force once more.
_REMEMBERED = 32

#: A push that was read, and its policy, compiled.
Read = tuple[PolicyPush, CompiledPolicy]

_log = logging.getLogger(__name__)


class ControlService:
    """Serves control connections. *start_serving* is called at the first `serve`."""

    def __init__(
        self,
        services: Services,
        attach: Callable[[Mapping[str, Any]], AttachedDevbox],
        start_serving: Callable[[], None],
    ) -> None:
        self._services = services
        self._attach_devbox = attach
        self._start_serving = start_serving
        self._connections = 0
        self._reader = _Reader()
        self.abandoned: asyncio.Future[None] = (
            asyncio.get_running_loop().create_future()
        )

    async def converse(self, sock: socket.socket) -> None:
        """Serve one control connection to its end."""
        self._connections += 1
        reader, writer = await asyncio.open_unix_connection(sock=sock, limit=MAX_LINE)
        try:
            while line := await reader.readline():
                request = read_request(line)
                if request.get("op") == "subscribe":
                    writer.write(_line({"id": request.get("id"), "ok": True}))
                    await self._stream(reader, writer)
                    return
                writer.write(_line(await self._reply(request)))
                await writer.drain()
        except (OSError, ValueError) as error:
            _log.warning("a control connection ended: %s", error)
        finally:
            writer.close()
            self._connections -= 1
            if not self._connections and not self.abandoned.done():
                self.abandoned.set_result(None)

    async def _reply(self, request: Mapping[str, Any]) -> dict[str, Any]:
        reply: dict[str, Any] = {"id": request.get("id"), "ok": True}
        try:
            reply.update(await self._perform(request))
        except StockadeError as error:
            reply.update(_refusal(error))
        except Exception as error:  # noqa: BLE001 - one request, not all that follow
            _log.exception("a request of the agent failed")
            reply.update(_refusal(error))
        return reply

    async def _perform(self, request: Mapping[str, Any]) -> dict[str, Any]:
        match request.get("op"):
            case "ping":
                return {}
            case "attach":
                return self._attach(request)
            case "update":
                return self._update(request["devboxes"], request["push"])
            case "detach":
                return await self._detach(request["devbox"])
            case "serve":
                self._start_serving()
                return {}
            case "status":
                return self._status()
            case other:
                raise InvalidRequest(f"unknown operation {other!r}")

    def _attach(self, request: Mapping[str, Any]) -> dict[str, Any]:
        devbox = self._attach_devbox(request)
        for text, names in request.get("lookups", {}).items():
            for name in names:
                devbox.lookups.record(Hostname.parse(name), ip_address(text))
        self._services.registry.attach(devbox)
        return _push(devbox, self._reader.read(request["push"]))

    def _update(self, names: Sequence[str], raw: Mapping[str, Any]) -> dict[str, Any]:
        """Push one policy to many devboxes; it is read once. What each says to it."""
        read = self._reader.read(raw)
        said: dict[str, Any] = {}
        for name in names:
            try:
                said[name] = {
                    "ok": True,
                    **_push(self._services.registry.named(name), read),
                }
            except StockadeError as error:
                said[name] = _refusal(error)
        return {"devboxes": said}

    async def _detach(self, name: str) -> dict[str, Any]:
        """Remove a devbox; its flows have ended when the reply is sent."""
        ending = self._services.registry.detach(name)
        if ending is not None:
            await ending.all_flows_ended()
            ending.events.close()
        self._services.log.flush_questions()
        return {}

    def _status(self) -> dict[str, Any]:
        return {
            "devboxes": [
                {
                    "devbox": devbox.devbox,
                    "policy_id": devbox.push.policy_id if devbox.push else None,
                    "generation": devbox.push.generation if devbox.push else None,
                    "flows": len(devbox.flows),
                    "lookups": len(devbox.lookups),
                }
                for devbox in self._services.registry
            ],
            "records": self._services.log.written,
        }

    async def _stream(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Send flow records until the subscriber goes away."""
        records = RecordStream(writer)
        end = self._services.log.subscribe(records.add)
        try:
            # The one thing a subscriber says: a line to be answered once all is
            # written.
            while line := await reader.readline():
                self._services.log.flush_questions()
                records.flush()
                writer.write(_line({"flushed": json.loads(line).get("id")}))
                await writer.drain()
        finally:
            end()


def read_request(line: bytes) -> dict[str, Any]:
    """Read a line of the agent. Raises `ValueError` for what is no JSON object."""
    try:
        request = json.loads(line)
    except RecursionError:
        raise ValueError("a request nested too deeply") from None
    if not isinstance(request, dict):
        raise ValueError(f"not a request: {line[:80]!r}")  # noqa: TRY004 - as any other
    return request


class Quarantine(InvalidRequest):
    """A policy cannot be applied, and the devbox is denied everything."""


class _Reader:
    """Reads pushes, and remembers the latest: one policy goes to many devboxes."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Mapping[str, Any], Read]] = {}

    def read(self, raw: Mapping[str, Any]) -> Read | Exception:
        """A push, ready to be put in force; or what is wrong with it."""
        try:
            known = self._known.get(raw["digest"])
            if known is not None and known[0] == raw:
                return known[1]
            push = PolicyPush.from_mapping(raw)
            read = push, CompiledPolicy(push.policy)
        except Exception as error:  # noqa: BLE001 - whatever it is, nothing may be allowed
            return error
        if len(self._known) >= _REMEMBERED:
            del self._known[next(iter(self._known))]
        self._known[push.digest] = raw, read
        return read


def _push(devbox: AttachedDevbox, read: Read | Exception) -> dict[str, Any]:
    """Put a policy in force, or the devbox in quarantine when it cannot be read."""
    if isinstance(read, Exception):
        cut = devbox.quarantine()
        raise Quarantine(
            f"{devbox.devbox} denies everything ({cut} flows cut): its policy cannot "
            f"be applied: {read}"
        )
    ack = devbox.apply(*read)
    return {"generation": ack.generation, "digest": ack.digest, "cut": ack.cut}


def _refusal(error: Exception) -> dict[str, Any]:
    return {
        "ok": False,
        "error": str(error) or type(error).__name__,
        "quarantined": isinstance(error, Quarantine),
    }


def _line(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=True).encode("ascii") + b"\n"
