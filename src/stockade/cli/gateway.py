"""The gateway process, as an agent starts it: `python -m stockade.cli.gateway SETTINGS`.

It stands outside the command line proper, whose imports would delay every start.
"""

from __future__ import annotations

import sys

from stockade.gateway.main import run_gateway
from stockade.gateway.settings import GatewaySettings
from stockade.host.uplink import HostUplink


def main() -> None:
    """Run a gateway with the settings, in JSON, of the first argument."""
    uplink = HostUplink()
    uplink.start()
    run_gateway(GatewaySettings.from_json(sys.argv[1]), uplink)


if __name__ == "__main__":
    main()
