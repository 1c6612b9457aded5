"""A certificate authority of the server's own, and the certificate it serves with.

Clients trust `ca.pem`. The authority is constrained to the server's domain, localhost and
addresses: whoever steals its key cannot pass for other sites with those who trust it.
"""

from __future__ import annotations

import contextlib
import os
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from stockade.errors import InvalidRequest

AUTHORITY_DAYS = 3650
# Clients refuse certificates of more than 398 days.
SERVER_DAYS = 365
RENEW_DAYS = 30
# Clocks of clients are not ours.
_SKEW = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a TLS listener needs; *authority* is what clients have to trust, if ours."""

    chain: Path
    key: Path
    authority: Path | None = None


def given_certificate(chain: Path, key: Path) -> Certificate:
    """A certificate from elsewhere. Raises `InvalidRequest` when it cannot be used."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(chain, key)
    except (OSError, ssl.SSLError) as error:
        raise InvalidRequest(f"{chain}, {key}: cannot be used: {error}") from None
    return Certificate(chain, key)


def own_certificate(
    directory: Path, domain: str, addresses: Sequence[str], now: datetime
) -> Certificate:
    """The certificate in *directory*, made or renewed where that is needed."""
    directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    names = (f"api.{domain}", f"*.tunnel.{domain}", "localhost")
    wanted: list[x509.GeneralName] = [x509.DNSName(name) for name in names]
    wanted += [x509.IPAddress(ip_address(text)) for text in dict.fromkeys(addresses)]
    authority = _load(directory / "ca.pem", directory / "ca.key")
    constraints = _constraints(domain)
    if authority is None or not _is_good(
        authority[0], now, x509.NameConstraints, constraints
    ):
        authority = _new_authority(domain, constraints, now)
        _store(directory, "ca", *authority)
    found = _load(directory / "server.pem", directory / "server.key")
    if (
        found is None
        or found[0].issuer != authority[0].subject
        or not _is_signed(found[0], authority[0])
        or not _is_good(
            found[0],
            now,
            x509.SubjectAlternativeName,
            x509.SubjectAlternativeName(wanted),
        )
    ):
        _store(directory, "server", *_new_server(authority, wanted, now))
    return Certificate(
        directory / "server.pem", directory / "server.key", directory / "ca.pem"
    )


_Pair = tuple[x509.Certificate, ec.EllipticCurvePrivateKey]


def _constraints(domain: str) -> x509.NameConstraints:
    everywhere = (ip_network("0.0.0.0/0"), ip_network("::/0"))
    return x509.NameConstraints(
        permitted_subtrees=[
            x509.DNSName(domain),
            x509.DNSName("localhost"),
            *map(x509.IPAddress, everywhere),
        ],
        excluded_subtrees=None,
    )


def _new_authority(
    domain: str, constraints: x509.NameConstraints, now: datetime
) -> _Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    # Each has a name of its own: clients that keep an old one tell them apart.
    serial = x509.random_serial_number()
    label = f"Stockade {domain} {serial & 0xFFFFFFFF:08x}"[:64]
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, label)])
    builder = _builder(name, name, key, now, AUTHORITY_DAYS).serial_number(serial)
    usage = _key_usage(signs_certificates=True)
    certificate = (
        builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        .add_extension(usage, True)
        .add_extension(constraints, True)
        .sign(key, hashes.SHA256())
    )
    return certificate, key


def _new_server(
    authority: _Pair, names: Sequence[x509.GeneralName], now: datetime
) -> _Pair:
    signer, signer_key = authority
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "stockade serve")])
    builder = _builder(name, signer.subject, key, now, SERVER_DAYS).serial_number(
        x509.random_serial_number()
    )
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(
        signer_key.public_key()
    )
    certificate = (
        builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), True)
        .add_extension(_key_usage(signs_certificates=False), True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False
        )
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(identifier, critical=False)
        .sign(signer_key, hashes.SHA256())
    )
    return certificate, key


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    now: datetime,
    days: int,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(
            x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
        )
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _load(chain: Path, key: Path) -> _Pair | None:
    """A certificate and its key; None when there is none, or it cannot be read."""
    try:
        certificate = x509.load_pem_x509_certificate(chain.read_bytes())
        private = serialization.load_pem_private_key(key.read_bytes(), None)
    except (OSError, ValueError):
        return None
    if not isinstance(private, ec.EllipticCurvePrivateKey):
        return None
    if certificate.public_key() != private.public_key():
        return None
    return certificate, private


def _is_good(
    certificate: x509.Certificate,
    now: datetime,
    kind: type[x509.ExtensionType],
    wanted: x509.ExtensionType,
) -> bool:
    """Whether it lasts for a while yet, and says what it should."""
    if certificate.not_valid_after_utc - now < timedelta(days=RENEW_DAYS):
        return False
    if certificate.not_valid_before_utc > now:
        return False
    try:
        return bool(
            certificate.extensions.get_extension_for_class(kind).value == wanted
        )
    except x509.ExtensionNotFound:
        return False


def _is_signed(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _store(
    directory: Path,
    stem: str,
    certificate: x509.Certificate,
    key: ec.EllipticCurvePrivateKey,
) -> None:
    """Write both; the key is never readable by others, not even for a moment."""
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    write_private(directory / f"{stem}.key", pem)
    (directory / f"{stem}.pem").write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
    )


def write_private(path: Path, content: bytes) -> None:
    """Replace a file by one that only its owner can read."""
    partial = path.with_name(f".{path.name}.partial")
    with contextlib.suppress(FileNotFoundError):
        partial.unlink()
    fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(fd, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def now_utc() -> datetime:
    """The present moment, as certificates count it."""
    return datetime.now(UTC)
