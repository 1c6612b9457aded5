"""How a server is called."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from stockade.config import Settings
from stockade.server.listening import Address
from stockade.server.names import certificate_for, url_of

PLAIN = Settings()
TLS = Settings(tls=True)
NAMED = Settings(tls=True, domain="runloop.a.test")


@pytest.mark.parametrize(
    ("settings", "address", "url"),
    [
        (PLAIN, Address("127.0.0.1", 8650), "http://127.0.0.1:8650"),
        (PLAIN, Address("0.0.0.0", 80), "http://127.0.0.1:80"),
        (PLAIN, Address("::", 80), "http://[::1]:80"),
        (TLS, Address("127.0.0.1", 8650), "https://127.0.0.1:8650"),
        (NAMED, Address("0.0.0.0", 443), "https://api.runloop.a.test"),
        (NAMED, Address("127.0.0.1", 8650), "https://api.runloop.a.test:8650"),
    ],
)
def test_the_url_that_clients_use(
    settings: Settings, address: Address, url: str
) -> None:
    assert url_of(settings, address) == url


def test_without_tls_there_is_no_certificate(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    assert certificate_for(settings, Address("127.0.0.1", 1)) is None
    assert [*tmp_path.iterdir()] == []


def test_the_local_authority_is_in_the_data_directory(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, tls=True)
    found = certificate_for(settings, Address("192.0.2.1", 1))
    assert found is not None
    assert found.authority == tmp_path / "tls" / "ca.pem"
    assert stat.S_IMODE(found.key.stat().st_mode) == 0o600


def test_a_given_certificate_is_served(tmp_path: Path) -> None:
    made = certificate_for(Settings(data_dir=tmp_path, tls=True), Address("::1", 1))
    assert made is not None
    settings = Settings(
        tls=True, tls_certificate=str(made.chain), tls_key=str(made.key)
    )
    found = certificate_for(settings, Address("::1", 1))
    assert found is not None
    assert (found.chain, found.authority) == (made.chain, None)
