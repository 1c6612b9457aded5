"""Tries what the gateway needs of the kernel, in a scratch namespace."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from stockade.doctor.check import Check, Machine, install_command
from stockade.errors import StockadeError
from stockade.host import netns, nft
from stockade.host.ruleset import render_base
from stockade.host.sockets import open_gateway_sockets


def check_gateway(machine: Machine) -> Iterator[Check]:
    """Try what the gateway needs of the kernel, in a scratch namespace."""
    library = install_command("libnftables", machine.os_release)
    module = "load the kernel modules {}, or boot a distribution's kernel".format
    try:
        scratch = netns.create()
    except StockadeError as error:
        yield Check("gateway", ok=False, detail=str(error), remedy="run it as root")
        return
    try:
        with scratch.entered():
            yield _attempt("nft library", nft.ruleset, library)
            yield _attempt(
                "transparent redirect",
                lambda: nft.apply(render_base()),
                module("nft_tproxy, nf_tables"),
            )
            yield _attempt("veth pairs", _make_veth, module("veth"))
        yield _attempt(
            "transparent sockets",
            lambda: open_gateway_sockets(scratch).close(),
            "switch IPv6 on (kernel parameter ipv6.disable=0)",
        )
    finally:
        scratch.close()


def _attempt(name: str, action: Callable[[], object], remedy: str) -> Check:
    try:
        action()
    except (StockadeError, OSError) as error:
        return Check(name, ok=False, detail=str(error), remedy=remedy)
    return Check(name, ok=True, detail="works")


def _make_veth() -> None:
    # Importing it takes 100 ms, and it is wanted here only.
    from pyroute2 import IPRoute, NetlinkError

    with IPRoute() as route:
        try:
            route.link("add", ifname="probe0", kind="veth", peer={"ifname": "probe1"})
        except NetlinkError as error:
            raise OSError(error.code, os.strerror(error.code)) from None
