"""The kernel settings of both ends of a slot.

A new namespace may start with the machine's own values, and the machine may be a
router; so whatever matters is written. `default` holds for interfaces that are made
later.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from stockade.errors import EnforcementError


def _for_all(family: str, **values: str) -> dict[str, str]:
    return {
        f"{family}/conf/{which}/{key}": value
        for which in ("all", "default")
        for key, value in values.items()
    }


GATEWAY: Mapping[str, str] = {
    "ipv4/ip_forward": "0",
    **_for_all(
        "ipv4",
        forwarding="0",
        rp_filter="1",
        accept_redirects="0",
        secure_redirects="0",
        send_redirects="0",
        accept_source_route="0",
        accept_local="0",
        route_localnet="0",
        proxy_arp="0",
        arp_ignore="8",
        arp_announce="2",
        src_valid_mark="0",
    ),
    **_for_all(
        "ipv6",
        disable_ipv6="0",
        forwarding="0",
        accept_ra="0",
        accept_redirects="0",
        accept_source_route="-1",
        autoconf="0",
        dad_transmits="0",
        proxy_ndp="0",
    ),
    # No link-local addresses: each end has the one address of its slot.
    "ipv6/conf/default/addr_gen_mode": "1",
    # A client must see every refusal, and all of them go to the one who caused them.
    "ipv4/icmp_ratemask": "0",
    "ipv6/icmp/ratemask": "",
}

DEVBOX: Mapping[str, str] = {
    # No unprivileged ICMP sockets: nothing answers them.
    "ipv4/ping_group_range": "1\t0",
    # Its connections end at the gateway, over a link inside the machine. One that paces
    # (BBR) sends a third less there. Reno is in every kernel.
    "ipv4/tcp_congestion_control": "reno",
    **_for_all(
        "ipv6",
        disable_ipv6="0",
        accept_ra="0",
        accept_redirects="0",
        autoconf="0",
        dad_transmits="0",
    ),
    "ipv6/conf/default/addr_gen_mode": "1",
}


def write(values: Mapping[str, str]) -> None:
    """Set *values* in the network namespace this thread is in."""
    for key, value in values.items():
        try:
            _path(key).write_text(value + "\n", encoding="ascii")
        except OSError as error:
            raise EnforcementError(
                f"cannot set {_path(key)} to {value!r}: {error.strerror}"
            ) from None


def problems(values: Mapping[str, str]) -> list[str]:
    """Say which of *values* the namespace this thread is in does not have."""
    wrong = []
    for key, value in values.items():
        found = _path(key).read_text(encoding="ascii").strip()
        if found != value:
            wrong.append(f"{_path(key)} is {found!r}, not {value!r}")
    return wrong


def _path(key: str) -> Path:
    # The kernel shows each thread the values of its own network namespace here.
    return Path("/proc/sys/net") / key
