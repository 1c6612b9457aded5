"""Host names and patterns, as policies and the wire write them."""

from __future__ import annotations

import socket
from ipaddress import ip_address

import dns.exception
import dns.name

from fuzz.target import Target, expect
from stockade.errors import HostnameError
from stockade.names import Hostname, HostPattern

_OTHERS = ("a.test", "x.a.test", "w.test", "x.w.test", "x.y.w.test", "xw.test")


def check(data: bytes) -> None:
    """A text is a name or pattern in one spelling, or refused in one way."""
    text = data.decode("utf-8", "surrogateescape")
    _check_name(text)
    _check_pattern(text)


def _check_name(text: str) -> None:
    try:
        name = Hostname.parse(text)
    except HostnameError:
        return
    expect(name.text == name.text.lower() and name.text.isascii(), "spelling", name)
    expect(Hostname.parse(name.text) == name, "not itself", name)
    expect(Hostname.parse(name.text.upper() + ".") == name, "spelled anew", name)
    expect(not _is_address(name.text), "an address", name)
    try:
        labels = dns.name.from_text(name.text).labels
    except dns.exception.DNSException as error:
        expect(None, "dnspython refuses", name, error)
    ours = tuple(label.encode() for label in name.text.split("."))
    expect((*ours, b"") == labels, "labels", name, labels)


def _is_address(text: str) -> bool:
    """Whether anybody would connect to *text* without asking DNS."""
    try:
        socket.inet_aton(text)
    except OSError:
        pass
    else:
        return True
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _check_pattern(text: str) -> None:
    try:
        pattern = HostPattern.parse(text)
    except HostnameError:
        return
    shown = str(pattern)
    expect(HostPattern.parse(shown) == pattern, "not itself", shown)
    suffix = pattern.suffix
    expect(pattern.covers(suffix) is not pattern.wildcard, "itself", shown)
    if len(suffix.text) < 250 and len(suffix.text.partition(".")[0]) < 63:
        below = Hostname.parse(f"x.{suffix.text}")
        beside = Hostname.parse(f"x{suffix.text}")
        expect(pattern.covers(below) is pattern.wildcard, "below", shown)
        expect(not pattern.covers(beside), "beside", shown)
    for other in map(Hostname, _OTHERS):
        wanted = other == suffix
        if pattern.wildcard:
            labels, end = other.text.split("."), suffix.text.split(".")
            wanted = len(labels) > len(end) and labels[-len(end) :] == end
        expect(pattern.covers(other) is wanted, "covers", shown, other)


NAMES = Target(
    "names",
    check,
    tuple(
        text.encode()
        for text in (
            "a.test",
            "A.Test.",
            "*.w.test",
            "_acme-challenge.w.test",
            "Bücher.example",
            "*.例え.テスト",
            "xn--bcher-kva.example",
            "127.0.0.1",
            "0x7f.1",
            "[::1]",
            "https://a.test/",
            "a.test:443",
            "a" * 63 + ".test",
            "faß.example",
            "a。test",
        )
    ),
    tuple(
        text.encode()
        for text in "*. . xn-- 0x \u3002 \uff0e \u200d ß \u212a _ -".split()
    ),
    max_len=300,
    cost=2,
)
