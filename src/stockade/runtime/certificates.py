"""Certificate authorities that the machine trusts beyond those of an image.

Where TLS is inspected, or hosts have certificates of their own, tools inside need what the
machine has. Certificates are compared as text: nothing here has to understand them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from stockade.errors import InvalidRequest
from stockade.runtime.tree import Tree

# Where distributions keep all that is trusted (Debian, SUSE, Alpine; Fedora twice).
BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
)
# Where an operator puts what is trusted in addition.
_ANCHORS = (
    ("/usr/local/share/ca-certificates", "**/*.crt"),
    ("/etc/pki/ca-trust/source/anchors", "*"),
)
_EXTRAS = "/etc/stockade/extra-ca.pem"
_SINGLE = "/usr/local/share/ca-certificates/stockade-{number}.crt"
_BUNDLE_VARIABLES = (
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "PIP_CERT",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_FILE",
)
_LARGEST = 8 << 20
_CERTIFICATE = re.compile(
    r"-----BEGIN CERTIFICATE-----\s+([A-Za-z0-9+/=\s]+?)-----END CERTIFICATE-----"
)


def sources(root: Path = Path("/")) -> list[Path]:
    """Return the files of the machine that certificates are taken from."""
    found: list[Path] = []
    for directory, pattern in _ANCHORS:
        found += sorted((root / directory[1:]).glob(pattern))
    return [*found, *(root / bundle[1:] for bundle in BUNDLES)]


def of_machine(
    extra_files: Iterable[Path] = (), *, anchors: bool = True, root: Path = Path("/")
) -> list[str]:
    """Return what is to be trusted: the operator's files, then the machine's.

    *extra_files* are PEM files; one without a certificate is `InvalidRequest`. With
    *anchors* off they are all.
    """
    found: dict[str, None] = {}
    for path in extra_files:
        certificates = _read(path)
        if not certificates:
            raise InvalidRequest(f"{path} is not a PEM file with a certificate")
        found.update(dict.fromkeys(certificates))
    if anchors:
        for path in sources(root):
            found.update(dict.fromkeys(_read(path)))
    return list(found)


def install(tree: Tree, trusted: Sequence[str]) -> dict[str, str]:
    """Make an image trust *trusted* as well; return the variables that tools need.

    Nothing is written, and no variable set, when the image has them all.
    """
    bundles = {path: tree.read(path, _LARGEST) for path in BUNDLES}
    present = {path: contents for path, contents in bundles.items() if contents}
    known = {
        certificate
        for contents in present.values()
        for certificate in parse(contents.decode("ascii", "replace"))
    }
    extras = [certificate for certificate in trusted if certificate not in known]
    if not extras:
        return {}
    added = "".join(map(render, extras)).encode()
    for path, contents in (present or {BUNDLES[0]: b""}).items():
        tree.write(path, contents.rstrip(b"\n") + b"\n" + added if contents else added)
    tree.write(_EXTRAS, added)
    # One a file: what Debian's tool reads when it makes the bundle anew.
    for number, certificate in enumerate(extras, start=1):
        tree.write(_SINGLE.format(number=number), render(certificate).encode())
    bundle = next(iter(present), BUNDLES[0])
    return {**dict.fromkeys(_BUNDLE_VARIABLES, bundle), "NODE_EXTRA_CA_CERTS": _EXTRAS}


def parse(text: str) -> Iterator[str]:
    """Yield each certificate in *text* as one line of base64."""
    for found in _CERTIFICATE.finditer(text):
        yield "".join(found[1].split())


def render(certificate: str) -> str:
    """Write one certificate as PEM."""
    lines = [
        certificate[start : start + 64] for start in range(0, len(certificate), 64)
    ]
    body = "\n".join(lines)
    return f"-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n"


def _read(path: Path) -> list[str]:
    """Return the certificates in *path*; none if it cannot be read."""
    try:
        return list(parse(path.read_text(encoding="ascii", errors="replace")))
    except OSError:
        return []
