"""One TCP connection of a devbox, from accept to close.

Where address and port decide (`allow_all`, a CIDR rule), the gateway dials the address and
relays. Otherwise the *name* decides: from the first bytes of the client (SNI, Host), or, for
protocols that carry none, from a lookup of this devbox; and the gateway dials that name,
never an address only the client vouches for. Where a lookup covers the address, the dial
starts at once and the server's bytes pass before the client has said anything, so protocols
in which the server speaks first wait for nothing; but not one byte of the client is
forwarded before it was read and judged.
"""

from __future__ import annotations

import asyncio
import socket

from stockade.errors import HostnameError
from stockade.gateway import denials
from stockade.gateway.devboxes import AttachedDevbox
from stockade.gateway.dialing import Barred, dial_name, with_host_fact
from stockade.gateway.first_bytes import FirstBytes, Peeked, peek, read_first_bytes
from stockade.gateway.flowlog import Kind, OpenFlow
from stockade.gateway.http import RequestRelay
from stockade.gateway.relay import Pump, reset
from stockade.gateway.resolver import ResolveError
from stockade.gateway.services import Services
from stockade.gateway.sinkhole import is_sinkhole
from stockade.gateway.upstream import tune
from stockade.names import Hostname
from stockade.policy.decide import Decision, Flow, Reason, deny
from stockade.policy.guardrails import Address

SSH_PORT = 22
TLS_PORT = 443

_LINGER = 1.0
_KINDS = {Kind.TLS: "tls", Kind.HTTP: "http"}


class Connection:
    """Serves one accepted socket. `run` never raises; it ends with everything closed."""

    def __init__(
        self,
        services: Services,
        devbox: AttachedDevbox,
        client: socket.socket,
        address: Address,
        port: int,
    ) -> None:
        self._services = services
        self._devbox = devbox
        self._client = client
        self._address = address
        self._port = port
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None
        self._upstream: socket.socket | None = None
        self._facts: Flow | None = None
        self._record: OpenFlow | None = None
        self._down: Pump | None = None
        self._up: Pump | None = None
        self._request: RequestRelay | None = None
        self._ended = 0
        self._done: asyncio.Future[None] = self._loop.create_future()
        self._forwarded = 0
        self._error: str | None = None
        self._cut: Decision | None = None

    async def run(self) -> None:
        """Serve the connection to its end."""
        self._task = asyncio.current_task()
        self._devbox.flows.add(self)
        graceful = False
        try:
            await self._serve()
            graceful = True
        except (OSError, ResolveError) as error:
            self._error = self._error or str(error) or type(error).__name__
        except asyncio.CancelledError:
            pass  # Cut by a policy, aborted, or the gateway stops.
        finally:
            self._devbox.flows.discard(self)
            self._close(graceful=graceful)
