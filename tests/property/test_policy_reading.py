"""Reading names, patterns and policies: nothing but our own errors, and there and back."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from stockade.errors import HostnameError, InvalidRequest
from stockade.names import Hostname, HostPattern
from stockade.policy.guardrails import Address, embedded_in, zone_of
from stockade.policy.lookups import LookupTable
from stockade.policy.model import NetworkPolicy
from stockade.policyfile import line_of, load_policy
from stockade.spec import PolicyPush
from tests.lab.stockade import to_toml
from tests.property import policies as drawn

# Texts that are nearly names: the alphabet of names, and what must not be in them.
nearly_names = st.text(
    st.sampled_from(
        "aZ09-_.*:/@[]% \t\n\r\0\u00df\u3002\uff0e\uff0a\u212a\u00ad\u200d"
    ),
    max_size=24,
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | nearly_names,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from("cidr ports port end_port protocol name x".split()),
            inner,
            max_size=3,
        )
    ),
    max_leaves=6,
)
FIELDS = (
    "name description allow_all allowed_hostnames allowed_cidrs allow_agent_gateway"
    " allow_devbox_to_devbox unknown"
).split()


@given(st.text(max_size=40) | nearly_names)
def test_a_name_is_read_or_refused(raw: str) -> None:
    with contextlib.suppress(HostnameError):
        name = Hostname.parse(raw)
        assert name.text.isascii()
        assert name.text == name.text.lower()
        assert Hostname.parse(name.text) == name == Hostname.parse(raw.upper())


@given(st.text(max_size=40) | nearly_names)
def test_a_pattern_is_read_or_refused(raw: str) -> None:
    with contextlib.suppress(HostnameError):
        pattern = HostPattern.parse(raw)
        assert str(pattern).isascii()
        assert HostPattern.parse(str(pattern)) == pattern


@given(st.dictionaries(st.sampled_from(FIELDS), values, max_size=5))
def test_a_policy_is_read_or_refused(raw: dict[str, Any]) -> None:
    with contextlib.suppress(InvalidRequest):
        policy = NetworkPolicy.from_mapping(raw)
        assert NetworkPolicy.from_mapping(policy.to_mapping()) == policy


@given(drawn.policies())
def test_a_policy_survives_a_mapping_and_json(policy: NetworkPolicy) -> None:
    mapping = policy.to_mapping()
    assert NetworkPolicy.from_mapping(mapping) == policy
    assert NetworkPolicy.from_mapping(json.loads(json.dumps(mapping))) == policy


@given(drawn.policies(), st.integers(1, 1 << 40))
def test_a_push_survives_json_and_its_digest_tells_policies_apart(
    policy: NetworkPolicy, generation: int
) -> None:
    push = PolicyPush("npol_1", generation, policy)
    assert PolicyPush.from_mapping(json.loads(json.dumps(push.to_mapping()))) == push
    other = PolicyPush("npol_1", generation, NetworkPolicy(name=policy.name + "x"))
    assert other.digest != push.digest


@given(st.text(max_size=60), st.text(max_size=60))
def test_a_line_is_found_or_not(text: str, message: str) -> None:
    line = line_of(text, message)
    assert line is None or 1 <= line <= len(text.splitlines())


@given(drawn.addresses)
def test_every_address_is_in_one_zone_and_its_inner_one_is_no_safer(
    address: Address,
) -> None:
    inner = embedded_in(address)
    if inner is not None and zone_of(inner).value not in ("public", "private"):
        assert zone_of(address).value not in ("public", "private")


@given(
    st.lists(st.tuples(drawn.names(), drawn.addresses), max_size=60),
    st.integers(1, 5),
    st.integers(1, 3),
)
def test_lookups_stay_within_their_bounds_and_keep_the_latest(
    records: list[tuple[Hostname, Address]], max_addresses: int, max_names: int
) -> None:
    table = LookupTable(max_addresses=max_addresses, max_names=max_names)
    for name, address in records:
        table.record(name, address)
        assert table.names(address)[0] == name
        assert len(table.names(address)) <= max_names
        assert len(table) <= max_addresses


def test_a_policy_file_is_the_mapping_it_stands_for(tmp_path: Path) -> None:
    @given(drawn.policies())
    def check(policy: NetworkPolicy) -> None:
        policy = replace(policy, name="tools")
        # TOML has no null.
        mapping = {k: v for k, v in policy.to_mapping().items() if v is not None}
        file = tmp_path / "policy.toml"
        file.write_text(to_toml(mapping), encoding="utf-8")
        assert load_policy(file) == policy

    check()
