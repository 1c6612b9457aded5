"""How a server is called: its URL, and the certificate for that."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

from stockade.config import Settings
from stockade.server.authority import (
    Certificate,
    given_certificate,
    now_utc,
    own_certificate,
)
from stockade.server.listening import Address


def certificate_for(settings: Settings, address: Address) -> Certificate | None:
    """The certificate to serve with; None without TLS."""
    if not settings.tls:
        return None
    if settings.tls_certificate:
        return given_certificate(Path(settings.tls_certificate), Path(settings.tls_key))
    addresses = ["127.0.0.1", "::1"]
    if not ip_address(address.host).is_unspecified:
        addresses.append(address.host)
    return own_certificate(
        settings.data_dir / "tls", settings.domain, addresses, now_utc()
    )


def url_of(settings: Settings, address: Address) -> str:
    """Where clients find the API.

    By name where a domain is configured, for that is what certificates and tunnels are
    for; else by the address, which needs no name service.
    """
    scheme = "https" if settings.tls else "http"
    if settings.tls and settings.domain != Settings().domain:
        host, default = f"api.{settings.domain}", 443
        return f"{scheme}://{host}" + (
            "" if address.port == default else f":{address.port}"
        )
    if ip_address(address.host).is_unspecified:
        loopback = "::1" if ":" in address.host else "127.0.0.1"
        address = Address(loopback, address.port)
    return f"{scheme}://{address}"
