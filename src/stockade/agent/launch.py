"""The first thing an agent does: open the gateway's namespace and start its process.

A gateway needs a tenth of a second until it can be spoken to. This module imports
little, so that a command can start it first and import the rest meanwhile.
"""

from __future__ import annotations

import socket
import sys
from dataclasses import dataclass, replace

from stockade.command import Process, spawn
from stockade.config import Settings
from stockade.gateway.settings import GatewaySettings
from stockade.host.network import GatewayNetwork
from stockade.host.slots import SLOT_NETWORK4, SLOT_NETWORK6


@dataclass(frozen=True, slots=True)
class GatewayProcess:
    """A gateway process, and our ends of its control connections."""

    process: Process[bytes]
    control: socket.socket
    records: socket.socket


@dataclass(frozen=True, slots=True)
class Launched:
    """A gateway on its way: its network, and its processes with what each was told."""

    network: GatewayNetwork
    gateways: tuple[tuple[GatewaySettings, GatewayProcess], ...]
    lanes: int = 1


def launch(settings: Settings, *, lanes: int = 1, workers: int = 1) -> Launched:
    """Open a gateway's namespace and start its processes. They serve nobody yet.

    *lanes* is a power of two: devboxes are spread over so many sets of sockets, and the
    sets over the *workers*, of which there may be as many as lanes.
    """
    network = GatewayNetwork(lanes)
    network.open()
    sockets = network.sockets.fds()
    gateways: list[tuple[GatewaySettings, GatewayProcess]] = []
    try:
        for worker in range(workers):
            told = GatewaySettings(
                sockets={
                    name: fd
                    for name, fd in sockets.items()
                    if _worker_of(name, workers) in (worker, None)
                },
                opened=settings.open_private_cidrs,
                closed=settings.deny_cidrs,
                own_networks=(str(SLOT_NETWORK4), str(SLOT_NETWORK6)),
                denied_answer=settings.denied_dns_answer,
            )
            gateways.append((told, start_gateway(told)))
    except BaseException:
        for _, gateway in gateways:
            gateway.process.kill()
            gateway.process.wait()
        network.stop()
        raise
    return Launched(network, tuple(gateways), lanes)


def _worker_of(name: str, workers: int) -> int | None:
    """Which worker serves the socket of that name; None for one that all have."""
    _, dot, lane = name.partition(".")
    return int(lane) % workers if dot else None


def start_gateway(settings: GatewaySettings) -> GatewayProcess:
    """Start a process with the gateway's sockets and two control connections."""
    control, control_end = socket.socketpair()
    records, records_end = socket.socketpair()
    ends = (control_end.fileno(), records_end.fileno())
    told = replace(settings, control=ends)
    try:
        process = spawn(
            [sys.executable, "-m", "stockade.cli.gateway", told.to_json()],
            pass_fds=(*told.sockets.values(), *ends),
            start_new_session=True,
        )
    except BaseException:
        control.close()
        records.close()
        raise
    finally:
        control_end.close()
        records_end.close()
    return GatewayProcess(process, control, records)
