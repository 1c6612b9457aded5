"""The test CA, and a certificate for whatever name is asked for.

The lab's servers can show a valid certificate for *every* name, the attacker's too: no
test passes because TLS stopped an attack that the gateway should have stopped.
"""

from __future__ import annotations

import datetime as dt
import functools
import ipaddress
import ssl
from collections.abc import Iterable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_LIFE = dt.timedelta(days=2)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _builder(
    subject: str, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _LIFE)
        .not_valid_after(now + _LIFE)
    )


@functools.cache
def authority() -> tuple[bytes, bytes]:
    """The CA of this process: certificate and key, both PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Stockade lab CA")])
    usage = x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        crl_sign=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    certificate = (
        _builder("Stockade lab CA", name, key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(identifier, critical=False)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM), _pem(key)


class Certificates:
    """Server contexts by name, made when first needed. All share one key."""

    def __init__(self, ca_pem: bytes, ca_key: bytes, directory: Path) -> None:
        self._ca = x509.load_pem_x509_certificate(ca_pem)
        key = serialization.load_pem_private_key(ca_key, None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise TypeError("the lab's CA has an EC key")
        self._ca_key = key
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._directory = directory
        self._contexts: dict[frozenset[str], ssl.SSLContext] = {}

    def context(self, names: Iterable[str]) -> ssl.SSLContext:
        """A context whose certificate is valid for *names* (addresses among them
        too)."""
        wanted = frozenset(names)
        if wanted not in self._contexts:
            path = self._directory / f"leaf-{len(self._contexts)}.pem"
            path.write_bytes(self._leaf(sorted(wanted)) + _pem(self._key))
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(path)
            context.set_alpn_protocols(["http/1.1"])
            self._contexts[wanted] = context
        return self._contexts[wanted]

    def _leaf(self, names: list[str]) -> bytes:
        server = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(
            self._ca_key.public_key()
        )
        certificate = (
            _builder(names[0][:64], self._ca.subject, self._key)
            .add_extension(
                x509.SubjectAlternativeName([_general_name(name) for name in names]),
                critical=False,
            )
            .add_extension(server, critical=False)
            .add_extension(issuer, critical=False)
            .sign(self._ca_key, hashes.SHA256())
        )
        return certificate.public_bytes(serialization.Encoding.PEM)


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
