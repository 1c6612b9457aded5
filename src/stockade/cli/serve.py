"""`stockade serve`: the API server, from its options to its end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from dataclasses import replace
from pathlib import Path

import click

from stockade.cli.access import Access, read_access, save_access
from stockade.config import Settings, load_settings
from stockade.errors import InvalidRequest, NotFound

_log = logging.getLogger(__name__)


@click.command()
@click.option(
    "--listen",
    metavar="ADDRESS:PORT",
    help="Where to listen.  [default: 127.0.0.1:8650]",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where everything is kept.",
)
@click.option("--tls", is_flag=True, help="Speak TLS and HTTP/2.")
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Read the settings from FILE.",
)
def serve(
    *, listen: str | None, data: Path | None, tls: bool, config: Path | None
) -> None:
    """Run the API server until SIGTERM or SIGINT.

    The official clients find it by RUNLOOP_BASE_URL and RUNLOOP_API_KEY: see
    `stockade env`.
    """
    if os.geteuid() != 0:
        raise InvalidRequest(
            "stockade serve needs root, to make namespaces: sudo stockade serve"
        )
    environ = dict(os.environ)
    if config is not None:
        environ["STOCKADE_CONFIG"] = str(config)
    settings = chosen_settings(load_settings(environ), listen, data, tls=tls)
    # What a client of this process would use is not for devboxes or logs.
    key = os.environ.pop("STOCKADE_API_KEY", None)
    _serve(settings, key)


def chosen_settings(
    settings: Settings, listen: str | None, data: Path | None, *, tls: bool
) -> Settings:
    """The settings with what the options say."""
    if listen is not None:
        settings = replace(settings, listen=listen)
    if data is not None:
        settings = replace(settings, data_dir=data.absolute())
    return replace(settings, tls=True) if tls else settings


def _serve(settings: Settings, key: str | None) -> None:
    from stockade.agent.serving import serving_host
    from stockade.runtime import overlay
    from stockade.server.compose import Composition
    from stockade.server.life import serve_until_stopped
    from stockade.server.listening import Address, bind, parse_listen
    from stockade.server.lock import locked
    from stockade.server.logs import configure_logs
    from stockade.server.names import certificate_for, url_of

    # So that what devboxes mount goes with this process, however it ends. Before there
    # are other threads, which would stay where they are.
    overlay.enter_private_mounts()
    configure_logs()
    wanted = parse_listen(settings.listen)
    with locked(settings.data_dir), bind(wanted) as listener:
        address = Address(wanted.host, listener.getsockname()[1])
        certificate = certificate_for(settings, address)
        if certificate is None and not address.is_loopback:
            _log.warning("keys cross the network unencrypted: use --tls")
        authority = certificate.authority if certificate else None
        composition = Composition(settings, serving_host(settings), key)

        def announce() -> None:
            found = Access(
                url_of(settings, address),
                composition.new_key or key or "",
                str(authority) if authority else None,
            )
            tell(settings, found, composition.new_key)

        asyncio.run(serve_until_stopped(composition, listener, certificate, announce))


def tell(settings: Settings, found: Access, new_key: str | None) -> None:
    """Say where the server is, here and to who asks `stockade env`."""
    if not found.api_key:
        # Neither made nor given at this start: the one that was left at an earlier one.
        with contextlib.suppress(NotFound):
            kept = read_access(settings.data_dir).api_key
            found = replace(found, api_key=kept)
    save_access(settings.data_dir, found)
    click.echo(f"stockade: {found.url}")
    if new_key is not None:
        click.echo(
            f"stockade: API key {new_key} (printed once; `stockade env` tells it to root)"
        )
