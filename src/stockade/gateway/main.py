"""The gateway process: its parts, put together, and its life.

The process runs in the uplink namespace without any privilege. What ties it to the
gateway namespace are the sockets it inherits. It accepts nothing from devboxes before
the agent has attached them and said `serve`, so no devbox ever meets a gateway without
its policy.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import resource
import signal
import socket
import time
from collections.abc import Mapping
from ipaddress import ip_address, ip_network
from typing import Any

from stockade.errors import EnforcementError
from stockade.gateway.control import ControlService
from stockade.gateway.devboxes import AttachedDevbox, Registry
from stockade.gateway.dns import DnsAnswerer
from stockade.gateway.dns_service import DnsService
from stockade.gateway.flowlog import FlowLog
from stockade.gateway.listening import TaskKeeper
from stockade.gateway.questions import Bucket, QuestionLimits
from stockade.gateway.resolver import UplinkResolver
from stockade.gateway.services import Limits, Services
from stockade.gateway.settings import GatewaySettings
from stockade.gateway.sockets import Datagrams
from stockade.gateway.tcp import TcpService
from stockade.gateway.udp import UdpService
from stockade.gateway.upstream import TcpDialer, Uplink
from stockade.policy.guardrails import Guardrails

NOBODY = 65_534

_PR_SET_NO_NEW_PRIVS = 38
# All devboxes wait for this process, and it uses little: it goes before what they run.
_NICENESS = -10
_FLUSH_SECONDS = 1.0
_SWEEP_SECONDS = 5.0


class Gateway:
    """All services of one gateway process."""

    def __init__(self, settings: GatewaySettings, uplink: Uplink) -> None:
        loop = asyncio.get_running_loop()
        clock = loop.time
        uplink.follow_changes(loop.add_reader)
        self._settings = settings
        self._guardrails = Guardrails.parse(settings.opened, settings.closed)
        self._sockets = {
            name: socket.socket(fileno=fd) for name, fd in settings.sockets.items()
        }
        for sock in self._sockets.values():
            sock.setblocking(False)
        self._services = Services(
            registry=Registry(),
            resolver=UplinkResolver(uplink, clock),
            dialer=TcpDialer(),
            uplink=uplink,
            log=FlowLog(wall_clock=time.time, clock=clock),
            limits=Limits.within(resource.getrlimit(resource.RLIMIT_NOFILE)[0]),
            own_networks=tuple(map(ip_network, settings.own_networks)),
            denied_answer=settings.denied_answer,
        )
        self._tasks = TaskKeeper()
        datagrams = Datagrams(self._sockets["raw4"], self._sockets["raw6"])
        self._tcp = TcpService(self._services, self._tasks, clock)
        self._udp = UdpService(self._services, self._tasks, datagrams, clock)
        self._dns = DnsService(
            self._services,
            DnsAnswerer(self._services, clock),
            self._tasks,
            datagrams,
        )
        self._control = ControlService(
            self._services, self._new_devbox, self._serve_devboxes
        )
        self._serving = False

    async def run(self) -> None:
        """Serve until SIGTERM, or until the agent is gone if the settings say so."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        if self._settings.end_with_agent:
            self._control.abandoned.add_done_callback(lambda _: stop.set())
        self._tasks.start(self._tick())
        for fd in self._settings.control:
            self._tasks.start(self._control.converse(socket.socket(fileno=fd)))
        await stop.wait()
        self._udp.stop()
        self._services.resolver.stop()
        await self._tasks.stop()

    def _new_devbox(self, request: Mapping[str, Any]) -> AttachedDevbox:
        limits: Limits = self._services.limits
        return AttachedDevbox(
            request["devbox"],
            tuple(ip_address(text) for text in request["addresses"]),
            self._guardrails,
            QuestionLimits(
                questions=Bucket(limits.questions_per_second, limits.question_burst),
                new_names=Bucket(limits.new_names_per_second, limits.new_name_burst),
                max_in_flight=limits.questions_in_flight,
            ),
            account=request.get("account"),
            execution=request.get("execution"),
        )

    def _serve_devboxes(self) -> None:
        """Begin to read what devboxes send. Called again, it does nothing."""
        if self._serving:
            return
        self._serving = True
        serve = {
            "dns": self._dns.serve_plain,
            "dnsx": self._dns.serve_transparent,
            "dnstcp": self._dns.serve_tcp,
            "udp": self._udp.serve,
            "tcp": self._tcp.serve,
        }
        for name, sock in self._sockets.items():
            kind = name.partition(".")[0].rstrip("46")
            if kind in serve:
                serve[kind](sock)

    async def _tick(self) -> None:
        """Do what is due now and then: write counted questions, end what is idle."""
        loop = asyncio.get_running_loop()
        sweep_at = loop.time()
        while True:
            await asyncio.sleep(_FLUSH_SECONDS)
            self._services.log.flush_questions()
            if loop.time() - sweep_at >= _SWEEP_SECONDS:
                sweep_at = loop.time()
                self._tcp.end_idle()
                self._udp.end_idle()


def drop_privileges() -> None:
    """Become nobody, for good. Everything that is imported later must be readable by all.

    Raises `EnforcementError` when a privilege is left.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    # A matter of delay alone, and not to be had without privilege.
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, _NICENESS)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise EnforcementError("the gateway cannot give up gaining privileges")
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    if 0 in os.getresuid():
        raise EnforcementError(
            "the gateway is still root after giving up its privileges"
        )


def run_gateway(settings: GatewaySettings, uplink: Uplink) -> None:
    """Run a gateway process to its end."""
    # Imported for the process that needs it: the agent reads this module's settings
    # only.
    import uvloop  # noqa: PLC0415

    drop_privileges()

    async def main() -> None:
        await Gateway(settings, uplink).run()

    uvloop.run(main())
