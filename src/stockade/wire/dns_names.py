r"""Domain names as DNS messages carry them (RFC 1035 sections 3.1 and 4.1.4).

A name is text here: labels joined by dots, in lower case, no final dot, "" for the root.
What is neither a letter, a digit, "-" nor "_" stands as `\DDD`, three decimal digits
(RFC 1035 section 5.1), so that a dot inside a label never looks like a dot between labels.
"""

from __future__ import annotations

import re

from stockade.errors import WireError

_PLAIN = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
_PLAIN_SET = frozenset(_PLAIN)
_ESCAPE = re.compile(r"\\([0-9]{3})")
_MAX_LABEL = 63
_MAX_NAME = 255
_POINTER = 0xC0
_HEADER = 12


def read_plain_name(data: bytes, at: int) -> tuple[str, int]:
    """Read the name of a question at *at*; return it and where it ends.

    It is refused unless each label is plain: a question needs no compression, and any
    other octet makes a name that no policy can hold. `IndexError` where *data* ends.
    """
    labels: list[bytes] = []
    start = at
    size = data[at]
    while size:
        if size > _MAX_LABEL:
            raise WireError("a compressed name, or a label of an unknown kind")
        at += 1 + size
        labels.append(data[at - size : at])
        size = data[at]
    if at - start >= _MAX_NAME:
        raise WireError("a name of more than 255 octets")
    if b"".join(labels).translate(None, _PLAIN):
        raise WireError("a name with other characters than letters, digits, '-', '_'")
    return b".".join(labels).lower().decode("ascii"), at + 1


def read_name(data: bytes, at: int, known: dict[int, str]) -> tuple[str, int]:
    """Read any name at *at*, following pointers; return it and where it ends.

    Each pointer leads to before the place from where the name was read last, so there is
    no loop. *known* holds the names of this message by where they begin: one that hundreds
    of records point to is read once. `IndexError` where *data* ends.
    """
    start, end = at, 0
    if data[at] & _POINTER == _POINTER:
        start, end = _target(data, at, at), at + 2
        found = known.get(start)
        if found is not None:
            return found, end
    labels: list[str] = []
    total = 1
    at = barrier = start
    while size := data[at]:
        if size & _POINTER == _POINTER:
            end = end or at + 2
            at = barrier = _target(data, at, barrier)
            continue
        if size > _MAX_LABEL:
            raise WireError("a label of an unknown kind")
        label = data[at + 1 : at + 1 + size]
        at += 1 + size
        total += 1 + size
        if total > _MAX_NAME:
            raise WireError("a name of more than 255 octets")
        labels.append(_label_text(label))
    known[start] = name = ".".join(labels).lower()
    return name, end or at + 1


def _target(data: bytes, at: int, barrier: int) -> int:
    """Where the pointer at *at* leads to."""
    target = (data[at] & ~_POINTER) << 8 | data[at + 1]
    if not _HEADER <= target < barrier:
        raise WireError("a compression pointer that does not lead back")
    return target


def encode_name(name: str) -> bytes:
    """Write a name, without compression."""
    out = bytearray()
    for label in name.split(".") if name else ():
        octets = _label_octets(label)
        if not 0 < len(octets) <= _MAX_LABEL:
            raise WireError(f"a label of {len(octets)} octets in {name[:300]!r}")
        out.append(len(octets))
        out += octets
    out.append(0)
    if len(out) > _MAX_NAME:
        raise WireError(f"a name of more than 255 octets: {name[:300]!r}")
    return bytes(out)


def _label_text(label: bytes) -> str:
    if not label.translate(None, _PLAIN):
        return label.decode("ascii")
    return "".join(chr(o) if o in _PLAIN_SET else f"\\{o:03d}" for o in label)


def _label_octets(label: str) -> bytes:
    try:
        if "\\" in label:
            label = _ESCAPE.sub(lambda found: chr(int(found[1])), label)
        return label.encode("latin-1")
    except UnicodeEncodeError:
        raise WireError(f"not a label of a domain name: {label[:80]!r}") from None
