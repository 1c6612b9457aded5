"""Host names and patterns: what is read, what is refused, and what is said about it."""

from __future__ import annotations

import pytest

from stockade.errors import HostnameError
from stockade.names import MAX_LABEL, MAX_NAME, Hostname, HostPattern

LONGEST_LABEL = "a" * MAX_LABEL
LONGEST_NAME = ".".join([LONGEST_LABEL] * 3 + ["b" * 61])


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        pytest.param("github.com", "github.com", id="a plain name"),
        pytest.param("GitHub.COM", "github.com", id="case does not matter"),
        pytest.param("github.com.", "github.com", id="one final dot is ignored"),
        pytest.param("localhost", "localhost", id="a single label"),
        pytest.param("_acme.w.test", "_acme.w.test", id="an underscore"),
        pytest.param("a_b.test", "a_b.test", id="an underscore within"),
        pytest.param("3com.test", "3com.test", id="a leading digit"),
        pytest.param("1.2.3.4.in-addr.arpa", "1.2.3.4.in-addr.arpa", id="reverse"),
        pytest.param("xn--bcher-kva.test", "xn--bcher-kva.test", id="an A-label"),
        pytest.param("a--b.test", "a--b.test", id="hyphens within"),
        pytest.param(LONGEST_LABEL + ".test", LONGEST_LABEL + ".test", id="63 octets"),
        pytest.param(LONGEST_NAME, LONGEST_NAME, id="253 octets"),
        pytest.param(LONGEST_NAME + ".", LONGEST_NAME, id="253 octets and a dot"),
    ],
)
def test_a_name_is_normalised(raw: str, text: str) -> None:
    assert Hostname.parse(raw).text == text
    assert str(Hostname.parse(raw)) == text


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param("", id="nothing"),
        pytest.param(".", id="the root"),
        pytest.param("a.test..", id="two final dots"),
        pytest.param(".a.test", id="a leading dot"),
        pytest.param("a..test", id="an empty label"),
        pytest.param("-a.test", id="a leading hyphen"),
        pytest.param("a-.test", id="a trailing hyphen"),
        pytest.param("a.test-", id="a hyphen at the end"),
        pytest.param("*.w.test", id="a wildcard is a pattern, no name"),
        pytest.param("a b.test", id="a space"),
        pytest.param("a.test ", id="a space at the end"),
        pytest.param("a.test\t", id="a tab"),
        pytest.param("a.test\n", id="a line feed, which $ would accept"),
        pytest.param("a.test\r\nHost: d.test", id="a forged line"),
        pytest.param("d.test\0.a.test", id="a NUL"),
        pytest.param("a%00.test", id="a percent sign"),
        pytest.param("user@a.test", id="an at sign"),
        pytest.param("a#.test", id="a number sign"),
        pytest.param("a\\.test", id="a backslash"),
        pytest.param("a.test:443", id="a port"),
        pytest.param("[d.test]", id="brackets"),
        pytest.param("[::1]", id="an IPv6 literal"),
        pytest.param("[[::1]]", id="double brackets"),
        pytest.param("127.0.0.1", id="an IPv4 address"),
        pytest.param("127.1", id="a short IPv4 address"),
        pytest.param("2130706433", id="an IPv4 address as one number"),
        pytest.param("0x7f.1", id="a number at the end"),
        pytest.param("a.0x7f", id="a hexadecimal number at the end"),
        pytest.param("a.0x", id="an empty hexadecimal number at the end"),
        pytest.param("a.1", id="a number as last label"),
        pytest.param("a.1.", id="a number as last label, with a dot"),
        pytest.param("a.\u212a", id="the Kelvin sign, which lower-cases to k"),
        pytest.param(
            "b\u00fccher.test", id="not ASCII: on the wire there are A-labels"
        ),
        pytest.param("a" * (MAX_LABEL + 1) + ".test", id="64 octets in a label"),
        pytest.param(LONGEST_NAME + "b", id=f"{MAX_NAME + 1} octets"),
    ],
)
def test_what_is_no_name_is_refused(raw: str) -> None:
    with pytest.raises(HostnameError, match="not a host name"):
        Hostname.parse(raw)


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        pytest.param("github.com", "github.com", id="a name"),
        pytest.param("*.GitHub.com", "*.github.com", id="a wildcard"),
        pytest.param("*.github.com.", "*.github.com", id="a wildcard, final dot"),
        pytest.param("*.co.uk", "*.co.uk", id="two labels after it are enough"),
        pytest.param("b\u00fccher.example", "xn--bcher-kva.example", id="UTS 46"),
        pytest.param("*.B\u00dcCHER.example", "*.xn--bcher-kva.example", id="capital"),
        pytest.param(
            "stra\u00dfe.example", "xn--strae-oqa.example", id="not transitional"
        ),
        pytest.param("a\u3002test", "a.test", id="the ideographic full stop"),
        pytest.param("localhost", "localhost", id="a single label without wildcard"),
    ],
)
def test_a_pattern_is_normalised(raw: str, text: str) -> None:
    pattern = HostPattern.parse(raw)
    assert str(pattern) == text
    assert HostPattern.parse(text) == pattern


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        pytest.param("", "empty", id="nothing"),
        pytest.param("*", "allow_all", id="everything is allow_all"),
        pytest.param("*.com", "at least two labels", id="a single label suffix"),
        pytest.param("*.", "not a host name", id="nothing after the wildcard"),
        pytest.param("a.*.test", "whole first label", id="in the middle"),
        pytest.param("a*.b.test", "whole first label", id="part of a label"),
        pytest.param("*a.b.test", "whole first label", id="before a label"),
        pytest.param("**.a.test", "whole first label", id="two stars"),
        pytest.param("*.*.a.test", "whole first label", id="two wildcards"),
        pytest.param("a.test.*", "whole first label", id="at the end"),
        pytest.param("\uff0a.a.test", "not a host name", id="a full-width star"),
        pytest.param("https://a.test", "URL", id="a URL"),
        pytest.param("a.test:443", "no port", id="a port"),
        pytest.param("a.test/path", "no path", id="a path"),
        pytest.param("192.0.2.1", "allowed_cidrs", id="an IPv4 address"),
        pytest.param("192.0.2.0/24", "allowed_cidrs", id="an IPv4 range"),
        pytest.param("2001:db8::1", "allowed_cidrs", id="an IPv6 address"),
        pytest.param("[2001:db8::1]", "allowed_cidrs", id="a bracketed address"),
        pytest.param("2001:db8::/32", "allowed_cidrs", id="an IPv6 range"),
        pytest.param("\uff11.\uff12.\uff13.\uff14", "address", id="full-width digits"),
        pytest.param(" a.test", "white space", id="space before"),
        pytest.param("a.test\n", "white space", id="a line feed after"),
        pytest.param("a.+test", "not a host name", id="a regular expression"),
        pytest.param("^a.test$", "not a host name", id="anchors"),
        pytest.param("\u00e4-.test", "not a host name", id="a hyphen at an end"),
    ],
)
def test_what_is_no_pattern_is_refused_with_advice(raw: str, said: str) -> None:
    with pytest.raises(HostnameError, match=said):
        HostPattern.parse(raw)


@pytest.mark.parametrize(
    ("pattern", "name", "covered"),
    [
        pytest.param("a.test", "a.test", True, id="the name itself"),
        pytest.param("a.test", "A.TEST.", True, id="in another spelling"),
        pytest.param("a.test", "x.a.test", False, id="a name below is another name"),
        pytest.param("a.test", "nota.test", False, id="a label is matched whole"),
        pytest.param("a.test", "a.test.evil.test", False, id="not as a prefix"),
        pytest.param("*.w.test", "x.w.test", True, id="one level below"),
        pytest.param("*.w.test", "x.y.w.test", True, id="any depth below"),
        pytest.param("*.w.test", "_acme.w.test", True, id="an underscore below"),
        pytest.param("*.w.test", "w.test", False, id="not the apex"),
        pytest.param("*.w.test", "xw.test", False, id="a whole label of suffix"),
        pytest.param("*.w.test", "x.w.test.evil.test", False, id="suffix within"),
    ],
)
def test_a_pattern_covers(pattern: str, name: str, covered: bool) -> None:
    assert HostPattern.parse(pattern).covers(Hostname.parse(name)) is covered
