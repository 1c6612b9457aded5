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
    """A gateway on its way: its network, what it was told, its process."""

    network: GatewayNetwork
    settings: GatewaySettings
    gateway: GatewayProcess


def launch(settings: Settings) -> Launched:
    """Open a gateway's namespace and start its process. It serves nobody yet."""
    network = GatewayNetwork()
    network.open()
    told = GatewaySettings(
        sockets=network.sockets.fds(),
        opened=settings.open_private_cidrs,
        closed=settings.deny_cidrs,
        own_networks=(str(SLOT_NETWORK4), str(SLOT_NETWORK6)),
        denied_answer=settings.denied_dns_answer,
    )
    try:
        return Launched(network, told, start_gateway(told))
    except BaseException:
        network.stop()
        raise


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
