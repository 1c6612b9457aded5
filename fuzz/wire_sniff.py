"""The first bytes of a connection: no server reads a name where we see none, or another."""

from __future__ import annotations

from fuzz.oracles import (
    MIN_HELLO,
    bare,
    h11_reads,
    llhttp_reads,
    openssl_name,
    python_host,
    target_host,
)
from fuzz.target import Target, chance, expect, is_due
from fuzz.wire_http import HEAD
from fuzz.wire_tls import HELLO
from stockade.wire.sniff import Protocol, Sniffed, SniffError, sniff

_COMPARED = 4  # one input in so many, with all but the quickest

#: How an outcome is compared: what was sniffed, "error", or None for "read more".
Outcome = Sniffed | str | None


def outcome(data: bytes) -> Outcome:
    """What `sniff` makes of *data*."""
    try:
        return sniff(data)
    except SniffError:
        return "error"


def check(data: bytes) -> None:
    """One outcome, which more octets do not change, and no server that reads more."""
    found = outcome(data)
    part = outcome(data[: chance(data, len(data) + 1)])
    expect(part is None or part == found, "an outcome taken back", part, found)
    if not isinstance(found, Sniffed):
        return  # nothing is forwarded
    expect(outcome(data + b"\r\n\r\n\0") == found, "an outcome that more octets change")
    if found.protocol is not Protocol.H2C:
        check_no_other_name(data, found)


def check_no_other_name(data: bytes, found: Sniffed) -> None:
    """Whatever OpenSSL, h11, llhttp and Python read is what we read."""
    if len(data) >= MIN_HELLO and is_due(data, _COMPARED):
        named = openssl_name(data)
        if named is not None:
            expect(found.protocol is Protocol.TLS, "TLS that we take for", found)
            expect(named == (found.name,), "names", named, found)
    if b"\n" not in data:
        return  # no server has a whole line
    for host in http_hosts(data):
        expect(found.protocol is Protocol.HTTP, "HTTP that we take for", found, host)
        expect(found.name and bare(found.name) == bare(host), "hosts", host, found)


def http_hosts(data: bytes, *, every: bool = False) -> list[str]:
    """The hosts that servers of HTTP read in the first request of *data*, or in *every*."""
    hosts: list[str] = []
    due = is_due(data, _COMPARED)
    for reads in (llhttp_reads, h11_reads) if due else (llhttp_reads,):
        requests, _ = reads(data)
        for request in requests if every else requests[:1]:
            if request.method == "CONNECT":
                continue
            hosts += request.hosts
            if (named := target_host(request.target)) is not None:
                hosts.append(f"[{named}]" if ":" in named else named)
    python = python_host(data) if due else None
    return hosts if python is None else [*hosts, python]


SNIFF = Target(
    "sniff",
    check,
    (
        *HEAD.seeds,
        *HELLO.seeds,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nGET / HTTP/1.1\r\nHost: d.test\r\n\r\n",
        b"\r\n\r\n\0\r\nQUIT\n",
        b"\0\0\0\x08\x04\xd2\x16\x2f",
        b"\x80\x2e\1\3\1\0\x15\0\0\0\x10" + bytes(37),
        b"EHLO box\r\n",
        b"*1\r\n$4\r\nPING\r\n",
        b"GET /\r\nHost: d.test\r\n\r\n",
        b"GET\t/ HTTP/1.1\r\nHost: d.test\r\n\r\n",
        b"\r\nGET / HTTP/1.1\nHost: d.test\n\n",
        b"\x15\3\1\0\2\1\0\x16\3\1\0\1\1",
    ),
    (
        *HEAD.words,
        *HELLO.words,
        b"PROXY ",
        b"SSH-2.0-",
        b"PRI * HTTP/2.0",
        b"\x0b",
        b"\x1c",
        b"\r",
        b"RTSP/1.0",
        b" ICE/1.0",
        b"\x80\x2e\1\3\1",
    ),
    max_len=600,
    cost=6,
)
