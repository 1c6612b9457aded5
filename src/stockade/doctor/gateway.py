"""Tries what the gateway needs of the kernel, with a gateway nobody uses."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from stockade.doctor.check import Check, Machine, install_command
from stockade.errors import StockadeError
from stockade.host import links, netns, nft, routing
from stockade.host.netns import Netns
from stockade.host.ruleset import render_base
from stockade.host.slots import Slot
from stockade.host.sockets import open_gateway_sockets


def check_gateway(machine: Machine) -> Iterator[Check]:
    """Make a gateway namespace and one wired to it, and take both away again."""
    made: list[Netns] = []
    try:
        made += [netns.create(), netns.create()]
        yield from _try(made[0], made[1], machine)
    except StockadeError as error:
        yield Check("namespaces", ok=False, detail=str(error), remedy="run it as root")
    finally:
        for namespace in made:
            namespace.close()


def _try(gateway: Netns, devbox: Netns, machine: Machine) -> Iterator[Check]:
    steps: tuple[tuple[str, Callable[[], object], str], ...] = (
        (
            "nft library",
            lambda: _inside(gateway, nft.ruleset),
            install_command("libnftables", machine.os_release),
        ),
        (
            "transparent redirect",
            lambda: _inside(gateway, lambda: nft.apply(render_base())),
            "modprobe nft_tproxy",
        ),
        (
            "policy routing",
            lambda: routing.establish(gateway),
            "boot a kernel with CONFIG_IP_MULTIPLE_TABLES and IPv6",
        ),
        (
            "veth pairs",
            lambda: links.connect(gateway, devbox, Slot(0)),
            "modprobe veth",
        ),
        (
            "transparent sockets",
            lambda: open_gateway_sockets(gateway).close(),
            "boot without the kernel parameter ipv6.disable",
        ),
    )
    for name, action, remedy in steps:
        yield _attempt(name, action, remedy)


def _inside(namespace: Netns, action: Callable[[], object]) -> None:
    with namespace.entered():
        action()


def _attempt(name: str, action: Callable[[], object], remedy: str) -> Check:
    try:
        action()
    except (StockadeError, OSError) as error:
        return Check(name, ok=False, detail=str(error), remedy=remedy)
    return Check(name, ok=True, detail="works")
