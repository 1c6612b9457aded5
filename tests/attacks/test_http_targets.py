"""Where a request goes: its line, its target, its Host, in every form a server may take.

Two sites share an address: `shared-a.test` is allowed, `shared-d.test` is not. Whatever
the server there would read, it must not be asked for the second.
"""

from __future__ import annotations

import pytest

from tests.attacks.builders import get
from tests.attacks.casework import each
from tests.attacks.conftest import Attacker
from tests.lab.addresses import v4, v6

SHARED = v4(30)
A, D = "shared-a.test", "shared-d.test"
BOTH = [SHARED, v6(30)]
IDS = ["IPv4", "IPv6"]


def request(line: str, *fields: str) -> bytes:
    """A head of *line*, with the allowed Host where no field is given."""
    return "\r\n".join([line, *(fields or (f"Host: {A}",)), "", ""]).encode("latin-1")


TARGETS = {
    # The whole URL: another host, or one that some parsers find in it.
    "absolute, another": f"GET http://{D}/ HTTP/1.1",
    "absolute, capitals": f"GET HTTP://{D.upper()}/ HTTP/1.1",
    "absolute, https": f"GET https://{D}/ HTTP/1.1",
    "absolute, a port": f"GET http://{D}:80/ HTTP/1.1",
    "absolute, no path": f"GET http://{D} HTTP/1.1",
    "absolute, a final dot": f"GET http://{D}./ HTTP/1.1",
    "absolute, another port": f"GET http://{A}:81/ HTTP/1.1",
    "absolute, credentials": f"GET http://{A}@{D}/ HTTP/1.1",
    "absolute, password": f"GET http://{A}:80@{D}/ HTTP/1.1",
    "absolute, credentials of it": f"GET http://{D}@{A}/ HTTP/1.1",
    "absolute, backslash": f"GET http://{A}\\@{D}/ HTTP/1.1",
    "absolute, backslash after": f"GET http://{A}\\.{D}/ HTTP/1.1",
    "absolute, fragment": f"GET http://{A}#@{D}/ HTTP/1.1",
    "absolute, query": f"GET http://{A}?@{D}/ HTTP/1.1",
    "absolute, query and backslash": f"GET http://{A}?\\@{D}/ HTTP/1.1",
    "absolute, semicolon": f"GET http://{A};{D}/ HTTP/1.1",
    "absolute, comma": f"GET http://{A},{D}/ HTTP/1.1",
    "absolute, escape": f"GET http://{A}%2f@{D}/ HTTP/1.1",
    "absolute, escaped name": f"GET http://{D.replace('s', '%73', 1)}/ HTTP/1.1",
    "absolute, two ports": f"GET http://{A}:80:{D}:80/ HTTP/1.1",
    "absolute, hexadecimal port": f"GET http://{A}:0x50/ HTTP/1.1",
    "absolute, signed port": f"GET http://{A}:+80/ HTTP/1.1",
    "absolute, empty port": f"GET http://{A}:/ HTTP/1.1",
    "absolute, long port": f"GET http://{A}:65616/ HTTP/1.1",
    "absolute, brackets": f"GET http://[{D}]/ HTTP/1.1",
    "absolute, nothing": "GET http:/// HTTP/1.1",
    "absolute, three slashes": f"GET http:///{D}/ HTTP/1.1",
    "absolute, one slash": f"GET http:/{D}/ HTTP/1.1",
    "absolute, no slash": f"GET http:{D}/ HTTP/1.1",
    "absolute, backslashes": f"GET http:\\\\{D}\\ HTTP/1.1",
    "absolute, inside": f"GET http://{A}.http://{D}/ HTTP/1.1",
    "absolute, in a URL": f"GET url:http://{D}/ HTTP/1.1",
    "another scheme": f"GET ftp://{D}/ HTTP/1.1",
    "a scheme for sockets": f"GET ws://{D}/ HTTP/1.1",
    "a scheme for files": f"GET file://{D}/ HTTP/1.1",
    "a scheme of its own": f"GET x-y+z.1://{D}/ HTTP/1.1",
    # Paths that some libraries take for the rest of a URL.
    "two slashes": f"GET //{D}/ HTTP/1.1",
    "two slashes, no path": f"GET //{D} HTTP/1.1",
    "two slashes, a port": f"GET //{D}:80/ HTTP/1.1",
    "two slashes, credentials": f"GET //x@{D}/ HTTP/1.1",
    "two slashes, an escape": "GET //shared-d%2etest/ HTTP/1.1",
    "two slashes, an address": "GET //203.0.113.66/ HTTP/1.1",
    "two slashes, IPv6": "GET //[2001:db8::66]/ HTTP/1.1",
    "three slashes": f"GET ///{D}/ HTTP/1.1",
    "slash and backslash": f"GET /\\{D}/ HTTP/1.1",
    "slash and backslashes": f"GET /\\\\{D}/ HTTP/1.1",
    "two backslashes": f"GET \\\\{D}/ HTTP/1.1",
    "no slash": f"GET {D}/ HTTP/1.1",
    "a host and port": f"GET {D}:80 HTTP/1.1",
    "a query": f"GET ?@{D} HTTP/1.1",
    "a fragment": f"GET #@{D} HTTP/1.1",
    "a fragment in a path": f"GET @{D}/ HTTP/1.1",
    "an asterisk": "GET * HTTP/1.1",
    "an asterisk and more": f"OPTIONS *@{D} HTTP/1.1",
    # Requests for a tunnel.
    "CONNECT": f"CONNECT {D}:443 HTTP/1.1",
    "CONNECT to the same": f"CONNECT {A}:443 HTTP/1.1",
    "CONNECT without port": f"CONNECT {A} HTTP/1.1",
    "CONNECT, HTTP/1.0": f"CONNECT {D}:443 HTTP/1.0",
    "CONNECT, a path": "CONNECT / HTTP/1.1",
    "CONNECT, a URL": f"CONNECT http://{A}/ HTTP/1.1",
    "CONNECT, another URL": f"CONNECT http://{D}:443/ HTTP/1.1",
    "CONNECT, IPv6": "CONNECT [2001:db8::66]:443 HTTP/1.1",
    "CONNECT, IPv4": "CONNECT 203.0.113.66:443 HTTP/1.1",
    "CONNECT, an asterisk": "CONNECT *:443 HTTP/1.1",
    "CONNECT, lower case": f"connect {D}:443 HTTP/1.1",
    "CONNECT, mixed case": f"Connect {A}:443 HTTP/1.1",
    "CONNECT, no version": f"CONNECT {D}:443",
    # Lines that servers read differently, or do not all read.
    "two spaces": "GET  / HTTP/1.1",
    "a tab": "GET\t/\tHTTP/1.1",
    "a space at the end": "GET / HTTP/1.1 ",
    "a space first": " GET / HTTP/1.1",
    "a space in the target": f"GET / http://{D}/ HTTP/1.1",
    "a form feed": "GET\x0c/\x0cHTTP/1.1",
    "a no-break space": "GET\xa0/\xa0HTTP/1.1",
    "NUL at the end": "GET / HTTP/1.1\0",
    "NUL in the target": f"GET /\0http://{D}/ HTTP/1.1",
    "a control character in the target": "GET /\x01 HTTP/1.1",
    "a letter that is not ASCII": "GET /\xe9 HTTP/1.1",
    "a carriage return in the target": "GET /\rx HTTP/1.1",
    "no version": "GET /",
    "the method alone, and a space": "GET ",
    "version 0.9": "GET / HTTP/0.9",
    "version 1.2": "GET / HTTP/1.2",
    "version 1.10": "GET / HTTP/1.10",
    "version 01.1": "GET / HTTP/01.1",
    "version 1.1 with more": "GET / HTTP/1.1x",
    "version 1": "GET / HTTP/1",
    "version 2": "GET / HTTP/2",
    "version 2.0": "GET / HTTP/2.0",
    "version 3": "GET / HTTP/3.0",
    "version in lower case": "GET / http/1.1",
    "version of another protocol": "GET / RTSP/1.0",
    "version with a space": "GET / HTTP /1.1",
    "version with a comma": "GET / HTTP/1,1",
    "a long method": "M" * 40 + " / HTTP/1.1",
    "a method with a colon": "GET: / HTTP/1.1",
    "a preface": "PRI * HTTP/2.0",
    "a preface of HTTP/1": "PRI * HTTP/1.1",
    "PROXY": "PROXY TCP4 203.0.113.30 203.0.113.30 80 80",
    "PROXY UNKNOWN": "PROXY UNKNOWN",
}


@pytest.mark.parametrize("address", BOTH, ids=IDS)
def test_a_target_that_leaves_a_doubt_is_refused(
    attack: Attacker, address: str
) -> None:
    """Each line with the allowed Host, to an address that was looked up for it.

    Nothing of it arrives, whatever the server would have made of it. Each arrives where
    nothing is read.
    """
    cases = {name: request(line) for name, line in TARGETS.items()}
    cases["an empty line first"] = b"\r\n" + get(A)
    cases["line feeds first"] = b"\n\n" + get(A)
    cases["a byte order mark first"] = b"GET \xef\xbb\xbf/ HTTP/1.1\r\nHost: x\r\n\r\n"
    cases["PROXY before a request"] = b"PROXY TCP4 1.1.1.1 1.1.1.1 1 1\r\n" + get(A)
    cases["PROXY of version 2"] = (
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + bytes(12) + get(D)
    )
    cases["CONNECT without Host"] = f"CONNECT {D}:443 HTTP/1.0\r\n\r\n".encode()
    cases["a URL without Host"] = f"GET http://{A}/ HTTP/1.0\r\n\r\n".encode()
    denied = each(attack, A, address, cases, lookups=A)
    assert denied.arrived() == set()
    for name in cases:
        assert denied.denials(name) <= {"http_unparseable", "http_connect"}, name
        assert denied.got(name)[:12] in (b"HTTP/1.1 400", b"HTTP/1.1 403"), name
    control = each(attack, "all", address, cases)
    assert control.arrived() == set(cases)


HOSTS = {
    "twice": (f"Host: {A}", f"Host: {D}"),
    "twice, the other first": (f"Host: {D}", f"Host: {A}"),
    "twice the same": (f"Host: {A}", f"Host: {A}"),
    "three times": (f"Host: {A}", "X: y", f"hOST: {D}", f"HOST: {A}"),
    "in capitals": (f"HOST: {D}",),
    "in any case": (f"hOsT:{D.upper()}",),
    "white space around": (f"Host: \t {D} \t",),
    "a final dot": (f"Host: {D}.",),
    "a port": (f"Host: {D}:80",),
    "none": ("X: y",),
    "empty": ("Host:",),
    "empty, then the other": ("Host:", f"Host: {D}"),
    "folded": (f"Host: {A}", f" {D}"),
    "folded with a tab": (f"Host: {A}", f"\t{D}"),
    "folded, empty first": ("Host:", f" {D}"),
    "a folded field before": ("X: y", f" Host: {D}", f"Host: {A}"),
    "a fold that is the first line": (f" Host: {D}", f"Host: {A}"),
    "a space before the colon": (f"Host : {D}", f"Host: {A}"),
    "a tab before the colon": (f"Host\t: {D}", f"Host: {A}"),
    "a form feed before the colon": (f"Host\x0c: {D}", f"Host: {A}"),
    "NUL before the colon": (f"Host\0: {D}", f"Host: {A}"),
    "NUL in the name": (f"Ho\0st: {D}", f"Host: {A}"),
    "a space first": (f"Host: {A}", f" Host: {D}"),
    "a form feed first": (f"Host: {A}", f"\x0cHost: {D}"),
    "a carriage return first": (f"Host: {A}", f"\rHost: {D}"),
    "an octet above ASCII in the name": (f"H\xf6st: {D}", f"Host: {A}"),
    "no name": (f": {D}", f"Host: {A}"),
    "no colon": (f"Host {D}", f"Host: {A}"),
    "an equals sign": (f"Host={D}", f"Host: {A}"),
    "quotes around the name": (f'"Host": {D}', f"Host: {A}"),
    "a list": (f"Host: {A}, {D}",),
    "a list without spaces": (f"Host: {A},{D}",),
    "two words": (f"Host: {A} {D}",),
    "two words with a tab": (f"Host: {A}\t{D}",),
    "semicolons": (f"Host: {A};{D}",),
    "userinfo": (f"Host: {A}@{D}",),
    "userinfo of it": (f"Host: {D}@{A}",),
    "a password": (f"Host: {A}:80@{D}:80",),
    "a path": (f"Host: {A}/",),
    "a path to it": (f"Host: {A}/@{D}",),
    "a query": (f"Host: {A}?@{D}",),
    "a fragment": (f"Host: {A}#@{D}",),
    "a backslash": (f"Host: {A}\\@{D}",),
    "a URL": (f"Host: http://{A}",),
    "a URL of the other": (f"Host: http://{D}",),
    "two slashes": (f"Host: //{D}",),
    "two ports": (f"Host: {A}:80:{D}",),
    "an empty port": (f"Host: {A}:",),
    "port 0": (f"Host: {A}:0",),
    "a port with zeros": (f"Host: {A}:080",),
    "a negative port": (f"Host: {A}:-80",),
    "a port too high": (f"Host: {A}:65616",),
    "a port that is a name": (f"Host: {A}:{D}",),
    "a port in another script": (f"Host: {A}:\xb2",),
    "quotes": (f'Host: "{A}"',),
    "brackets": (f"Host: [{D}]",),
    "an escape": ("Host: shared%2dd.test",),
    "an escaped end": (f"Host: {D}%00.{A}",),
    "NUL": (f"Host: {D}\0.{A}",),
    "NUL last": (f"Host: {A}\0",),
    "a vertical tab": (f"Host: {A}\x0b{D}",),
    "DEL": (f"Host: {A}\x7f",),
    "a no-break space": (f"Host: {A}\xa0",),
    "a next-line octet": (f"Host: {A}\x85Host: {D}",),
    "a carriage return alone": (f"Host: {A}\rHost: {D}",),
    "a line feed alone": (f"Host: {A}\nHost: {D}",),
    "a line feed alone elsewhere": (f"X: y\nHost: {D}", f"Host: {A}"),
    "a carriage return elsewhere": (f"X: y\rHost: {D}", f"Host: {A}"),
    "both the wrong way": (f"X: y\n\rHost: {D}", f"Host: {A}"),
    "two carriage returns": (f"X: y\r\r\nHost: {D}", f"Host: {A}"),
    "by hop": (f"Host: {A}", "Connection: Host"),
    "by hop, among others": (f"Host: {A}", "Connection: close, hOsT , x"),
}


@pytest.mark.parametrize("address", BOTH, ids=IDS)
def test_a_host_that_leaves_a_doubt_is_refused(attack: Attacker, address: str) -> None:
    """Each Host with an ordinary request line, and with a target that says the same."""
    cases = {name: request("GET / HTTP/1.1", *lines) for name, lines in HOSTS.items()}
    cases |= {
        f"{name}, HTTP/1.0": request("GET / HTTP/1.0", *lines)
        for name, lines in HOSTS.items()
    }
    cases |= {
        f"{name}, with a URL": request(f"GET http://{A}/ HTTP/1.1", *lines)
        for name, lines in HOSTS.items()
    }
    denied = each(attack, A, address, cases, lookups=A)
    assert denied.arrived() == set()
    assert denied.got("a URL, HTTP/1.0").startswith(b"HTTP/1.1 400")
    control = each(attack, "all", address, cases)
    assert control.arrived() == set(cases)


METHODS = [
    *("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "get", "x"),
    *("PROPFIND", "M-SEARCH", "VERSION-CONTROL", "PURGE", "BREW", "!#$%&'*+-.^_`|~"),
]


def test_every_method_is_judged_by_its_host(attack: Attacker) -> None:
    """Usual, unusual and made up; in every form of the target that names a host."""
    cases = {}
    for method in METHODS:
        cases[method] = request(f"{method} /x HTTP/1.1", "Host: HOST")
        cases[f"{method} URL"] = request(
            f"{method} http://HOST/x HTTP/1.1", "Host: HOST"
        )
        cases[f"{method} 1.0"] = request(f"{method} /x HTTP/1.0", "Host: HOST:8080")
    cases["OPTIONS *"] = request("OPTIONS * HTTP/1.1", "Host: HOST")
    other = {name: sent.replace(b"HOST", D.encode()) for name, sent in cases.items()}
    same = {name: sent.replace(b"HOST", A.encode()) for name, sent in cases.items()}
    denied = each(attack, A, SHARED, other, lookups=A)
    assert denied.arrived() == set()
    assert denied.outcome.reasons(verdict="deny", kind="http") == {
        "hostname_not_allowed"
    }
    allowed = each(attack, A, SHARED, same)
    assert allowed.arrived() == set(same)
    assert allowed.asked_for(A) == set(same)


PATHS = [
    "//",
    "//x",
    "//v1/models",
    "/a//b.test/",
    "/http://d.test/",
    "/@d.test/",
    "/?",
]


def test_paths_that_are_only_paths_pass(attack: Attacker) -> None:
    """What clients that join URLs carelessly ask for: judged by the Host, as ever."""
    same = {path: request(f"GET {path} HTTP/1.1") for path in PATHS}
    other = {path: request(f"GET {path} HTTP/1.1", f"Host: {D}") for path in PATHS}
    assert each(attack, A, SHARED, same).arrived() == set(PATHS)
    assert each(attack, A, SHARED, other, lookups=A).arrived() == set()


HINTS = [
    *("X-Forwarded-Host", "X-Host", "X-Original-Host", "X-Original-URL", "Forwarded"),
    *("X-Rewrite-URL", "X-HTTP-Host-Override", "X-Forwarded-Server", "X-Proxy-Host"),
    *("Via", "Origin", "Referer", "Location", ":authority", "X-Http-Method-Override"),
]


def test_headers_that_some_servers_obey_lead_nowhere_else(attack: Attacker) -> None:
    """A stated limit: such a header reaches the allowed host as it is, and no other.

    `:authority` is no field name in HTTP/1 and is refused.
    """
    values = {"Forwarded": "host=d.test", "X-Original-URL": "http://d.test/"}
    cases = {
        field: get("a.test", extra=f"{field}: {values.get(field, 'd.test')}\r\n")
        for field in HINTS
    }
    outcome = each(attack, "a.test", v4(13), cases)
    assert outcome.arrived() == set(HINTS) - {":authority"}
    for case in outcome.arrived():
        assert outcome.names(case) == ["a.test"], case
        assert b"d.test" in outcome.octets(case)
    assert outcome.outcome.arrived(v4(13)) == 0
    denied = each(attack, "d.test", v4(13), cases)
    assert denied.arrived() == set()
