"""Policies from mappings: what is read, and which field is named when it is refused."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_network
from typing import Any

import pytest

from stockade.errors import InvalidRequest
from stockade.policy.model import (
    MAX_CIDRS,
    MAX_HOSTNAMES,
    AllowedCidr,
    NetworkPolicy,
    PortRule,
    Transport,
)


def policy(**fields: Any) -> NetworkPolicy:
    return NetworkPolicy.from_mapping({"name": "p", **fields})


def test_a_name_is_enough_and_allows_nothing() -> None:
    assert policy() == NetworkPolicy(name="p")
    assert not policy().allow_all
    assert policy().allowed_hostnames == () == policy().allowed_cidrs


@pytest.mark.parametrize(
    "field", ["description", "allow_all", "allowed_hostnames", "allowed_cidrs"]
)
def test_null_is_as_absent(field: str) -> None:
    assert policy(**{field: None}) == policy()


def test_allow_all_includes_devbox_to_devbox_and_keeps_the_lists() -> None:
    whole = policy(allow_all=True, allowed_hostnames=["a.test"])
    assert whole.allow_devbox_to_devbox
    assert [str(pattern) for pattern in whole.allowed_hostnames] == ["a.test"]


def test_host_names_keep_their_order_and_duplicates_are_folded() -> None:
    names = ["b.test", "*.a.test", "B.TEST.", "a.test", "*.A.test"]
    kept = policy(allowed_hostnames=names).allowed_hostnames
    assert [str(pattern) for pattern in kept] == ["b.test", "*.a.test", "a.test"]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        pytest.param({"name": None}, "name: ", id="no name"),
        pytest.param({"name": ""}, "name: ", id="an empty name"),
        pytest.param({"name": "n" * 256}, "name: ", id="a long name"),
        pytest.param({"name": 7}, "name: ", id="a number as name"),
        pytest.param({"description": 7}, "description: ", id="a number as text"),
        pytest.param({"allow_all": "yes"}, "allow_all: ", id="a text as flag"),
        pytest.param({"allow_all": 1}, "allow_all: ", id="a number as flag"),
        pytest.param(
            {"allowed_hostname": ["a.test"]}, "unknown field", id="a misspelt field"
        ),
        pytest.param({"allowed_hostnames": "a.test"}, "expected a list", id="no list"),
        pytest.param(
            {"allowed_hostnames": {"a.test": 1}}, "expected a list", id="a mapping"
        ),
        pytest.param(
            {"allowed_hostnames": ["a.test", "*"]},
            r"allowed_hostnames\[1\]: .*allow_all",
            id="a bad host name, by its place",
        ),
        pytest.param(
            {"allowed_hostnames": [None]},
            r"allowed_hostnames\[0\]",
            id="null in a list",
        ),
        pytest.param(
            {"allowed_hostnames": ["a.test"] * (MAX_HOSTNAMES + 1)},
            f"at most {MAX_HOSTNAMES}",
            id="too many host names",
        ),
        pytest.param(
            {"allowed_cidrs": [{"cidr": "10.0.0.0/8"}] * (MAX_CIDRS + 1)},
            f"at most {MAX_CIDRS}",
            id="too many ranges",
        ),
        pytest.param(
            {"allowed_cidrs": ["10.0.0.0/8"]}, "expected fields", id="a bare range"
        ),
        pytest.param(
            {"allowed_cidrs": [{"cidr": "10.0.0.1/8"}]},
            'host bits set; write "10.0.0.0/8"',
            id="host bits",
        ),
        pytest.param(
            {"allowed_cidrs": [{"cidr": "10.0.0.1"}]},
            'write .* as "10.0.0.1/32"',
            id="no length",
        ),
        pytest.param(
            {"allowed_cidrs": [{"cidr": "10.0.0.0/255.0.0.0"}]},
            'as "10.0.0.0/8"',
            id="a net mask",
        ),
        pytest.param(
            {"allowed_cidrs": [{"cidr": "10.0.0.0/33"}]}, "not a CIDR", id="too long"
        ),
        pytest.param(
            {"allowed_cidrs": [{"cidr": "010.0.0.0/8"}]}, "not a CIDR", id="octal"
        ),
        pytest.param(
            {"allowed_cidrs": [{"cidr": "2001:db8::%eth0/64"}]},
            "without the zone",
            id="a zone",
        ),
        pytest.param({"allowed_cidrs": [{"cidr": 10}]}, "not a text", id="a number"),
        pytest.param({"allowed_cidrs": [{}]}, "not a text", id="no range"),
        pytest.param(
            {"allowed_cidrs": [{"cidr": "10.0.0.0/8", "port": 1}]},
            r"allowed_cidrs\[0\]: unknown field 'port'",
            id="a misspelt field of a range",
        ),
    ],
)
def test_a_bad_policy_is_refused_by_field(
    fields: Mapping[str, object], said: str
) -> None:
    with pytest.raises(InvalidRequest, match=said):
        NetworkPolicy.from_mapping({"name": "p", **fields})


@pytest.mark.parametrize("raw", [None, [], "a.test", 1])
def test_a_policy_is_a_mapping(raw: Any) -> None:
    with pytest.raises(InvalidRequest, match="expected fields"):
        NetworkPolicy.from_mapping(raw)


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        pytest.param({}, "is not a port", id="no port"),
        pytest.param({"port": 0}, "is not a port", id="port 0"),
        pytest.param({"port": 65_536}, "is not a port", id="beyond the last"),
        pytest.param({"port": True}, "is not a port", id="a flag is no port"),
        pytest.param({"port": "443"}, "is not a port", id="a text is no port"),
        pytest.param({"port": 443.0}, "is not a port", id="nor a fraction"),
        pytest.param({"port": 2, "end_port": 1}, "below", id="a range backwards"),
        pytest.param({"port": 1, "end_port": 65_536}, "not a port", id="a long range"),
        pytest.param({"port": 1, "protocol": "tcp"}, '"TCP" or "UDP"', id="case"),
        pytest.param({"port": 1, "protocol": "ICMP"}, '"TCP" or "UDP"', id="ICMP"),
        pytest.param({"port": 1, "to": 2}, "unknown field 'to'", id="unknown field"),
    ],
)
def test_a_bad_port_rule_is_refused(rule: Mapping[str, object], said: str) -> None:
    with pytest.raises(
        InvalidRequest, match=rf"allowed_cidrs\[0\]\.ports\[0\].*{said}"
    ):
        policy(allowed_cidrs=[{"cidr": "10.0.0.0/8", "ports": [rule]}])


@pytest.mark.parametrize(
    ("rule", "port", "transport", "covered"),
    [
        pytest.param(PortRule(443, 443), 443, Transport.TCP, True, id="the port"),
        pytest.param(PortRule(443, 443), 444, Transport.TCP, False, id="the next"),
        pytest.param(
            PortRule(443, 443), 442, Transport.TCP, False, id="the one before"
        ),
        pytest.param(PortRule(1, 65_535), 1, Transport.UDP, True, id="the first"),
        pytest.param(PortRule(1, 65_535), 65_535, Transport.TCP, True, id="the last"),
        pytest.param(
            PortRule(53, 53, Transport.UDP), 53, Transport.TCP, False, id="transport"
        ),
    ],
)
def test_a_port_rule_covers(
    rule: PortRule, port: int, transport: Transport, covered: bool
) -> None:
    assert rule.covers(port, transport) is covered


def test_a_range_reads_as_it_is_written() -> None:
    ports = (PortRule(443, 443), PortRule(8000, 8080, Transport.TCP))
    assert str(AllowedCidr(ip_network("10.0.0.0/8"))) == "10.0.0.0/8"
    assert (
        str(AllowedCidr(ip_network("10.0.0.0/8"), ports))
        == "10.0.0.0/8 443,8000-8080/TCP"
    )
