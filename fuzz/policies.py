"""Policies as TOML files and as JSON: read whole, or refused by field."""

from __future__ import annotations

import json
from pathlib import Path

from fuzz.target import Target, expect
from stockade.errors import InvalidRequest
from stockade.names import Hostname
from stockade.policy.decide import CompiledPolicy
from stockade.policy.model import NetworkPolicy
from stockade.policyfile import parse_policy
from stockade.spec import PolicyPush

_FILE = Path("policy.toml")
_NAMES = tuple(map(Hostname, ("a.test", "x.a.test", "w.test", "x.y.w.test")))


def check(data: bytes) -> None:
    """A text that begins as JSON is a mapping of the API, any other a policy file."""
    text = data.decode("utf-8", "replace")
    try:
        if text.startswith("{"):
            policy = NetworkPolicy.from_mapping(json.loads(text))
        else:
            policy = parse_policy(text, _FILE)
    except (InvalidRequest, json.JSONDecodeError, RecursionError):
        return  # How deep JSON may be is what reads it from the network has to say.
    check_policy(policy, CompiledPolicy(policy))


def check_policy(policy: NetworkPolicy, compiled: CompiledPolicy) -> None:
    """A policy that was read is the same after a journey, and compiles to what it says."""
    push = PolicyPush("npol_1", 1, policy)
    arrived = PolicyPush.from_mapping(json.loads(json.dumps(push.to_mapping())))
    expect(arrived == push and arrived.digest == push.digest, "changed on its way")
    for name in _NAMES:
        wanted = any(pattern.covers(name) for pattern in policy.allowed_hostnames)
        expect((compiled.pattern_for(name) is not None) is wanted, "covers", name)
    for entry in policy.allowed_cidrs:
        expect(entry in compiled.cidrs_for(entry.cidr[0]), "no rule", entry)
        expect(entry in compiled.cidrs_for(entry.cidr[-1]), "no rule", entry)


_TOML = (
    'name = "p"\nallowed_hostnames = ["a.test", "*.w.test"]\n',
    'allow_all = true\ndescription = """x\ny"""\n',
    '[[allowed_cidrs]]\ncidr = "10.0.0.0/8"\nports = [{ port = 1, end_port = 65535 }]\n',
    'allowed_cidrs = [{ cidr = "10.0.0.0/8", ports = [{ protocol = "TCP", port = 2 }] }]',
    'allowed_cidrs = [{ cidr = "2001:db8::/32" }, { cidr = "0.0.0.0/0" }]\n',
    'name = "a\\u0041"\nx.y = 1979-05-27T07:32:00Z\n',
    "a = [[1, 2.5e3], [inf, 0x1F]]\n",
)
_JSON = (
    {"name": "p", "allowed_hostnames": ["a.test"], "allow_all": None},
    {"name": "p", "allowed_cidrs": [{"cidr": "255.255.255.255/32", "ports": []}]},
    {
        "name": "p",
        "allowed_cidrs": [
            {"cidr": "::/0", "ports": [{"port": 443, "end_port": None}]},
            {"cidr": "198.51.100.0/24", "ports": [{"port": 5, "protocol": "UDP"}]},
        ],
        "allow_devbox_to_devbox": True,
    },
)

POLICY = Target(
    "policy",
    check,
    (*(t.encode() for t in _TOML), *(json.dumps(v).encode() for v in _JSON)),
    tuple(
        f'{word}"'.encode() if word[:1] == '"' else word.encode()
        for word in (
            *sorted(f'"{field}' for field in NetworkPolicy.__slots__),
            *sorted(NetworkPolicy.__slots__),
            *('"cidr', '"ports', '"port', '"end_port', '"protocol', '"TCP', '"UDP'),
            *("cidr", "ports", "port", "end_port", "protocol", "true", "false", "null"),
            *("[[allowed_cidrs]]\n", " = ", '"""', "'''", "\\u0041", "\\ud800", "inf"),
            *('"a.test', '"*.w.test', '"10.0.0.0/8', '"::/0', "65536", "-1", "1e9"),
        )
    ),
    max_len=600,
    cost=6,
)
