"""Host names as policy compares them.

A host name reaches us in a DNS question, a TLS SNI, an HTTP Host and a policy rule, in any
case and with or without the final dot. It is normalised once, here; every other module
holds a `Hostname`, never a `str`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from stockade.errors import HostnameError

MAX_NAME = 253
MAX_LABEL = 63

# LDH and the underscore, which service names use (RFC 8552); no hyphen at an end (RFC 952).
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?")
# A name whose last label is a number is an IPv4 address to every URL parser
# (WHATWG URL, "ends in a number"), whatever a DNS server would answer for it.
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_ADDRESS = re.compile(r"\[?[0-9a-f:]*:[0-9a-f:.]*\]?(?:/[0-9]+)?|[0-9.]+(?:/[0-9]+)?")


@dataclass(frozen=True, slots=True, order=True)
class Hostname:
    """A host name: lower-case A-labels, without the final dot.

    `Hostname.parse` is the only way in.
    """

    text: str

    @classmethod
    def parse(cls, raw: str) -> Hostname:
        """Read a name from the wire. Raises `HostnameError` for everything else.

        >>> Hostname.parse("GitHub.com.").text
        'github.com'
        """
        # Before lower(): U+212A KELVIN SIGN lower-cases to an ASCII "k".
        if not raw.isascii():
            raise HostnameError(f"not a host name: {raw!r} is not ASCII")
        text = raw.lower()
        text = text.removesuffix(".")
        if not 0 < len(text) <= MAX_NAME:
            raise HostnameError(f"not a host name: {raw[:80]!r} has {len(text)} octets")
        labels = text.split(".")
        for label in labels:
            if len(label) > MAX_LABEL or not _LABEL.fullmatch(label):
                raise HostnameError(f"not a host name: {raw[:300]!r}")
        if _NUMBER.fullmatch(labels[-1]):
            raise HostnameError(f"not a host name but an address: {raw!r}")
        return cls(text)

    def __str__(self) -> str:
        """The name as policies and records write it."""
        return self.text


@dataclass(frozen=True, slots=True)
class HostPattern:
    """One entry of `allowed_hostnames`: a name, or `*.` and a name.

    `*.example.com` covers every name below `example.com`, at any depth, and not
    `example.com` itself.
    """

    suffix: Hostname
    wildcard: bool

    @classmethod
    def parse(cls, raw: str) -> HostPattern:
        """Read an entry of a policy. Raises `HostnameError`, saying what to write instead.

        Names in other scripts are mapped to A-labels (UTS #46, non-transitional).

        >>> str(HostPattern.parse("*.Bücher.example"))
        '*.xn--bcher-kva.example'
        """
        _refuse_lookalikes(raw)
        wildcard = raw.startswith("*.")
        rest = raw.removeprefix("*.")
        if "*" in rest:
            raise HostnameError(
                f"{raw!r}: the wildcard is the whole first label and nothing else, "
                "as in '*.example.com'"
                + ("; to allow every host, use allow_all" if raw == "*" else "")
            )
        suffix = Hostname.parse(rest if rest.isascii() else _to_ascii(rest))
        if wildcard and "." not in suffix.text:
            raise HostnameError(
                f"{raw!r}: a wildcard needs at least two labels after it; "
                "to allow every host, use allow_all"
            )
        return cls(suffix, wildcard)

    def covers(self, name: Hostname) -> bool:
        """Whether *name* is allowed by this entry."""
        if self.wildcard:
            return name.text.endswith("." + self.suffix.text)
        return name == self.suffix

    def __str__(self) -> str:
        """The entry as a policy writes it."""
        return f"*.{self.suffix.text}" if self.wildcard else self.suffix.text


def _refuse_lookalikes(raw: str) -> None:
    """Say what is wrong with the things people write instead of a host name."""
    if not raw:
        raise HostnameError("an empty text is not a host name")
    if raw != raw.strip():
        raise HostnameError(f"{raw!r}: remove the white space around the host name")
    if "://" in raw:
        raise HostnameError(f"{raw!r} is a URL: write its host name only")
    if _ADDRESS.fullmatch(raw.lower()):
        raise HostnameError(f"{raw!r} is an address: put it into allowed_cidrs")
    if ":" in raw:
        raise HostnameError(
            f"{raw!r}: a host name has no port, all ports of it are allowed; "
            "to allow one port of an address, use allowed_cidrs"
        )
    if "/" in raw:
        raise HostnameError(f"{raw!r}: a host name has no path")


def _to_ascii(text: str) -> str:
    """Map a name in another script to A-labels."""
    # Imported here since few policies need it, and every start would pay for its tables.
    import idna  # noqa: PLC0415

    try:
        mapped = idna.uts46_remap(text, std3_rules=False, transitional=False)
        return ".".join(
            label if label.isascii() else idna.alabel(label).decode("ascii")
            for label in mapped.split(".")
        )
    except idna.IDNAError as error:
        raise HostnameError(f"not a host name: {text!r}: {error}") from None
