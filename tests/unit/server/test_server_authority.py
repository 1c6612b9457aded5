"""The server's own certificate authority: made, kept, renewed, constrained."""

from __future__ import annotations

import ssl
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from stockade.errors import InvalidRequest
from stockade.server.authority import (
    Certificate,
    given_certificate,
    own_certificate,
)

NOW = datetime(2026, 11, 23, tzinfo=UTC)
ADDRESSES = ("127.0.0.1",)


def make(directory: Path, now: datetime = NOW, domain: str = "a.test") -> Certificate:
    return own_certificate(directory, domain, ADDRESSES, now)


def handshake(certificate: Certificate, name: str) -> str:
    """Shake hands in memory as a client that trusts the authority; what it sent."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate.chain, certificate.key)
    client = ssl.create_default_context(cafile=certificate.authority)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    near = client.wrap_bio(to_client, to_server, server_hostname=name)
    far = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for end in (near, far):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return near.version() or "none"


@pytest.mark.parametrize(
    "name", ["api.a.test", "8080-key.tunnel.a.test", "localhost", "127.0.0.1"]
)
def test_clients_that_trust_the_authority_accept_the_names(
    tmp_path: Path, name: str
) -> None:
    assert handshake(make(tmp_path), name) == "TLSv1.3"


def test_other_names_are_not_accepted(tmp_path: Path) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(make(tmp_path), "api.b.test")


def test_keys_are_for_the_owner_only(tmp_path: Path) -> None:
    make(tmp_path)
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in tmp_path.glob("*.key")}
    assert modes == {"ca.key": 0o600, "server.key": 0o600}


def test_what_is_good_is_kept(tmp_path: Path) -> None:
    make(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    make(tmp_path, NOW + timedelta(days=300))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_the_server_certificate_is_renewed_and_the_authority_stays(
    tmp_path: Path,
) -> None:
    make(tmp_path)
    authority = (tmp_path / "ca.pem").read_bytes()
    server = (tmp_path / "server.pem").read_bytes()
    make(tmp_path, NOW + timedelta(days=340))
    assert (tmp_path / "ca.pem").read_bytes() == authority
    assert (tmp_path / "server.pem").read_bytes() != server


def test_another_domain_makes_both_anew(tmp_path: Path) -> None:
    make(tmp_path)
    authority = (tmp_path / "ca.pem").read_bytes()
    assert handshake(make(tmp_path, domain="b.test"), "api.b.test") == "TLSv1.3"
    assert (tmp_path / "ca.pem").read_bytes() != authority


@pytest.mark.parametrize("damaged", ["ca.pem", "ca.key", "server.pem", "server.key"])
def test_a_damaged_file_is_made_anew(tmp_path: Path, damaged: str) -> None:
    make(tmp_path)
    (tmp_path / damaged).write_text("nonsense")
    assert handshake(make(tmp_path), "api.a.test") == "TLSv1.3"


def test_the_authority_may_sign_for_its_domain_only(tmp_path: Path) -> None:
    pem = Path(make(tmp_path).authority or "").read_bytes()
    extensions = x509.load_pem_x509_certificate(pem).extensions
    permitted = extensions.get_extension_for_class(
        x509.NameConstraints
    ).value.permitted_subtrees
    names = {item.value for item in permitted or () if isinstance(item, x509.DNSName)}
    assert names == {"a.test", "localhost"}


def test_given_certificates_are_tried_before_they_are_served(tmp_path: Path) -> None:
    ours = make(tmp_path)
    assert given_certificate(ours.chain, ours.key) == Certificate(ours.chain, ours.key)
    with pytest.raises(InvalidRequest, match=r"server\.pem"):
        given_certificate(ours.chain, tmp_path / "ca.key")
    with pytest.raises(InvalidRequest, match="missing"):
        given_certificate(tmp_path / "missing", ours.key)
