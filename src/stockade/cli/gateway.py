"""`stockade gateway`: the gateway process, as an agent starts it."""

from __future__ import annotations

import click

from stockade.gateway.main import run_gateway
from stockade.gateway.settings import GatewaySettings
from stockade.host.uplink import HostUplink


@click.command()
@click.argument("settings")
def gateway(settings: str) -> None:
    """Run a gateway process (internal: it needs the sockets that its agent passes)."""
    uplink = HostUplink()
    uplink.start()
    run_gateway(GatewaySettings.from_json(settings), uplink)
